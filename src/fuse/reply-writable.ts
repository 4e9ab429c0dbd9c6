/** Reply bytes of a writable mount: attributes that do not stay, and the answers to changes. */
import type { FilesystemStatistics } from '../fs/filesystem.ts';
import type { WritableAttributes, WritableStatistics } from '../fs/writable-filesystem.ts';
import { COPY_FILE_RANGE_OUT_SIZE, ENTRY_OUT_SIZE, OPEN_OUT_SIZE, OUT_HEADER_SIZE, WRITE_OUT_SIZE } from './abi.ts';
import type { Opened } from './open-files.ts';
import { ReplyBuffer } from './reply.ts';

const PAYLOAD = OUT_HEADER_SIZE / 4;
const STATX_BTIME = 0x800;

/** Names stay as long as the kernel likes: it changes them itself. Attributes stay for `ttl` seconds. */
export class WritableReply extends ReplyBuffer<WritableAttributes> {
  override attr(a: WritableAttributes): number {
    const length = super.attr(a);
    this.words[PAYLOAD] = a.ttl;
    return length;
  }

  override statx(a: WritableAttributes): number {
    const { words } = this;
    const length = super.statx(a);
    words[PAYLOAD] = a.ttl;
    const stat = PAYLOAD + 8;
    words[stat + 16] = a.atimeLow;
    words[stat + 17] = a.atimeHigh;
    words[stat + 18] = a.atimeNsec;
    if (a.btimeLow === 0 && a.btimeHigh === 0 && a.btimeNsec === 0) return length;
    words[stat] = (words[stat] as number) | STATX_BTIME;
    words[stat + 20] = a.btimeLow;
    words[stat + 21] = a.btimeHigh;
    words[stat + 22] = a.btimeNsec;
    return length;
  }

  /** fuse_statfs_out, with the free space if `statistics` has it. */
  override statfs(statistics: FilesystemStatistics & Partial<WritableStatistics>): number {
    const length = super.statfs(statistics);
    this.long(PAYLOAD + 2, statistics.blocksFree ?? 0);
    this.long(PAYLOAD + 4, statistics.blocksAvailable ?? 0);
    this.long(PAYLOAD + 8, statistics.filesFree ?? 0);
    return length;
  }

  /** fuse_entry_out, then fuse_open_out: the answer to CREATE and TMPFILE. */
  created(attributes: WritableAttributes, { low, high, flags, backingId }: Opened): number {
    this.entry(attributes);
    const at = PAYLOAD + ENTRY_OUT_SIZE / 4;
    this.words[at] = low;
    this.words[at + 1] = high;
    this.words[at + 2] = flags;
    this.words[at + 3] = backingId;
    return ENTRY_OUT_SIZE + OPEN_OUT_SIZE;
  }

  /** fuse_write_out */
  written(bytes: number): number {
    this.words[PAYLOAD] = bytes;
    this.words[PAYLOAD + 1] = 0;
    return WRITE_OUT_SIZE;
  }

  /** fuse_copy_file_range_out */
  copied(bytes: number): number {
    this.long(PAYLOAD, bytes);
    return COPY_FILE_RANGE_OUT_SIZE;
  }

  /** The nodeid in the fuse_entry_out at the start of the payload; 0 for a name that is not there. */
  get entryNodeid(): number {
    return (this.words[PAYLOAD] as number) + (this.words[PAYLOAD + 1] as number) * 0x1_0000_0000;
  }

  protected override entryAt(word: number, a: WritableAttributes): void {
    super.entryAt(word, a);
    this.words[word + 6] = a.ttl;
  }

  protected override attrAt(word: number, a: WritableAttributes): void {
    super.attrAt(word, a);
    this.words[word + 6] = a.atimeLow;
    this.words[word + 7] = a.atimeHigh;
    this.words[word + 12] = a.atimeNsec;
  }
}
