/**
 * Mount tests run the built tools. If mounting is impossible, this fails at once, with a line that says what to do: a
 * skipped mount test would prove nothing.
 */
import { chmodSync, existsSync, statSync } from 'node:fs';

const DEVICE = '/dev/fuse';

export default function setup(): (() => void) | undefined {
  if (!existsSync('dist/tools/cfs-mount.js')) throw new Error("dist/ is missing: run 'make build' first");
  if (!existsSync(DEVICE)) throw new Error(`there is no ${DEVICE}: 'make test' says what to do`);
  if (process.geteuid?.() !== 0) throw new Error('the mount tests need root: loop devices, other users, drop_caches');
  const mode = statSync(DEVICE).mode & 0o777;
  if ((mode & 0o666) === 0o666) return undefined;
  // as with Debian's udev rules: ordinary users mount through fusermount3
  chmodSync(DEVICE, 0o666);
  return () => chmodSync(DEVICE, mode);
}
