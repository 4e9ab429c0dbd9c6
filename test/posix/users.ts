/** Acting as other users. */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
}

export const ROOT: User = { uid: 0, gid: 0, groups: [0] };
/** Ordinary users, which need not exist on the machine. */
export const ALICE: User = { uid: 65531, gid: 65531, groups: [65531] };
export const BOB: User = { uid: 65532, gid: 65532, groups: [65532] };
/** A member of Alice's group. */
export const CAROL: User = { uid: 65533, gid: 65533, groups: [65533, ALICE.gid] };

/**
 * Runs `work`, which is synchronous, with the effective user and groups of `user`. The process must be root's. Another
 * user than root has no capabilities in it, and cannot use /proc/self.
 */
export function as<T>(user: User, work: () => T): T {
  if (user.uid === 0) return work();
  const groups = process.getgroups?.() ?? [];
  process.setgroups?.([...user.groups]);
  process.setegid?.(user.gid);
  process.seteuid?.(user.uid);
  try {
    return work();
  } finally {
    process.seteuid?.(0);
    process.setegid?.(0);
    process.setgroups?.(groups);
  }
}

/** Runs `work` with this umask. */
export function withUmask<T>(mask: number, work: () => T): T {
  const before = process.umask(mask);
  try {
    return work();
  } finally {
    process.umask(before);
  }
}
