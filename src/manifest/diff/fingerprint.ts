/** 64 bits in place of words and names, to find equal entries. */
import type { ManifestTables } from '../tables.ts';

/**
 * 64 bits that represent words and names. The seed is random: otherwise an image could be crafted whose entries all
 * collide in one place of a table. Entries with equal bits are compared before they count as equal.
 */
export class Fingerprint {
  static readonly #seedA: number = Math.random() * 2 ** 32;
  static readonly #seedB: number = Math.random() * 2 ** 32;
  a = 0;
  b = 0;

  start(): void {
    this.a = Fingerprint.#seedA | 0;
    this.b = Fingerprint.#seedB | 0;
  }

  add(word: number): void {
    const a = Math.imul(this.a ^ word, 0x9e3779b1);
    const b = Math.imul(this.b + word, 0x85ebca6b);
    this.a = a ^ (a >>> 15);
    this.b = b ^ (b >>> 13);
  }

  addBytes(bytes: Uint8Array, from: number, to: number): void {
    for (let i = from; i < to; i++) this.add(bytes[i] as number);
    this.add(to - from);
  }

  addName({ dirents }: ManifestTables, dirent: number): void {
    this.addBytes(dirents.names, dirents.nameOffset[dirent] as number, dirents.nameOffset[dirent + 1] as number);
  }
}
