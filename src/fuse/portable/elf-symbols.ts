/**
 * One edit of an ELF shared library's symbol table, on bytes. Layout: elf(5).
 */

const ELF64_LITTLE_ENDIAN = Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 2, 1);
const SHT_DYNSYM = 11;
const SYMBOL_SIZE = 24;

/**
 * Makes the dynamic symbol `name` an alias of `target`, in place: code that is linked against the first gets the
 * second. The two must be interchangeable in C.
 *
 * Throws unless `library` is a 64-bit little-endian ELF library that defines each exactly once.
 */
export function aliasDynamicSymbol(library: Buffer, name: string, target: string): void {
  if (!library.subarray(0, ELF64_LITTLE_ENDIAN.length).equals(ELF64_LITTLE_ENDIAN)) {
    throw new Error('it is not a 64-bit little-endian ELF file');
  }
  const from = symbolAt(library, target);
  const to = symbolAt(library, name);
  library.copy(library, to + 8, from + 8, from + SYMBOL_SIZE); // st_value and st_size
}

/** Offset of the Elf64_Sym of `name`. */
function symbolAt(library: Buffer, name: string): number {
  const found: number[] = [];
  const symbols = dynamicSymbols(library);
  const wanted = Buffer.from(`${name}\0`);
  for (let at = symbols.offset; at < symbols.offset + symbols.size; at += SYMBOL_SIZE) {
    const text = symbols.strings + library.readUInt32LE(at);
    if (library.subarray(text, text + wanted.length).equals(wanted)) found.push(at);
  }
  const [only] = found;
  if (only === undefined || found.length > 1) throw new Error(`it has ${found.length} symbols ${name}`);
  return only;
}

/** The place of .dynsym, and of its strings. */
function dynamicSymbols(library: Buffer): {
  readonly offset: number;
  readonly size: number;
  readonly strings: number;
} {
  const sections = Number(library.readBigUInt64LE(40));
  const count = library.readUInt16LE(60);
  const section = (index: number): number => sections + index * library.readUInt16LE(58);
  const offsetOf = (header: number): number => Number(library.readBigUInt64LE(header + 24));
  for (let i = 0; i < count; i++) {
    const header = section(i);
    if (library.readUInt32LE(header + 4) !== SHT_DYNSYM) continue;
    return {
      offset: offsetOf(header),
      size: Number(library.readBigUInt64LE(header + 32)),
      strings: offsetOf(section(library.readUInt32LE(header + 40))),
    };
  }
  throw new Error('it has no dynamic symbols');
}
