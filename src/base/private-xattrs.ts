/** Names of xattrs that belong to mounts: a mount answers them itself and lists none of them. docs/handles.md has them all. */

const PREFIXES: readonly string[] = ['trusted.cfs.', 'user.cfs.'];

/** Whether an xattr of this name is a mount's own. One of an image with such a name could pretend to be it: it is neither packed nor shown. */
export function isPrivateXattr(name: Uint8Array): boolean {
  // "t" and "u": nearly all names end here
  if (name[0] !== 0x74 && name[0] !== 0x75) return false;
  const text = Buffer.from(name).toString('latin1');
  return PREFIXES.some((prefix) => text.startsWith(prefix));
}
