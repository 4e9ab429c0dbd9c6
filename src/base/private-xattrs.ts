/** Names of xattrs that belong to mounts: a mount answers them itself and lists none of them. docs/handles.md has them all. */

const PREFIXES: readonly string[] = ['trusted.cfs.', 'user.cfs.'];
const OVERLAY_PREFIXES: readonly string[] = ['trusted.overlay.', 'user.overlay.'];

/** Whether an xattr of this name is a mount's own. One of an image with such a name could pretend to be it: it is neither packed nor shown. */
export function isPrivateXattr(name: Uint8Array): boolean {
  return beginsWithOne(name, PREFIXES);
}

/** Whether an overlayfs over the mount, with `userxattr` or without, takes an xattr of this name as an order. */
export function isOverlayXattr(name: Uint8Array): boolean {
  return beginsWithOne(name, OVERLAY_PREFIXES);
}

function beginsWithOne(name: Uint8Array, prefixes: readonly string[]): boolean {
  // "t" and "u": nearly all names end here
  if (name[0] !== 0x74 && name[0] !== 0x75) return false;
  const text = Buffer.from(name).toString('latin1');
  return prefixes.some((prefix) => text.startsWith(prefix));
}
