/**
 * Names of xattrs that belong to mounts: a mount answers them itself and lists none of them. docs/handles.md describes
 * all of them.
 */

const PREFIXES: readonly string[] = ['trusted.cfs.', 'user.cfs.'];
const OVERLAY_PREFIXES: readonly string[] = ['trusted.overlay.', 'user.overlay.'];

/**
 * Whether an xattr of this name is a mount's own. Such a name in an image could imitate it: it is neither packed nor
 * shown.
 */
export function isPrivateXattr(name: Uint8Array): boolean {
  return beginsWithOne(name, PREFIXES);
}

/** Whether an overlayfs over the mount, with `userxattr` or without, obeys an xattr of this name. */
export function isOverlayXattr(name: Uint8Array): boolean {
  return beginsWithOne(name, OVERLAY_PREFIXES);
}

function beginsWithOne(name: Uint8Array, prefixes: readonly string[]): boolean {
  // "t" and "u": nearly all names end here
  if (name[0] !== 0x74 && name[0] !== 0x75) return false;
  const text = Buffer.from(name).toString('latin1');
  return prefixes.some((prefix) => text.startsWith(prefix));
}
