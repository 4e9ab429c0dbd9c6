/** `cfs-mount --upgrade` and `cfs-mount --rebase`: changes of a mount that goes on. */
import { oneLine } from '../../src/base/bytes.ts';
import { CfsError } from '../../src/base/error.ts';
import { EXIT, type ExitStatus, printJson } from '../cli.ts';

export async function upgradeMount(
  [mount, ...more]: readonly string[],
  { json }: { readonly json: boolean },
): Promise<ExitStatus> {
  if (mount === undefined || more.length > 0) throw new CfsError('usage', '--upgrade takes one MOUNTPOINT');
  const { upgrade } = await import('../../src/mount/upgrade.ts');
  const upgraded = await upgrade(mount);
  const { mountpoint, from, to } = upgraded;
  if (json) printJson(upgraded);
  else
    process.stdout.write(
      `${oneLine(mountpoint)}: version ${from.release} (pid ${from.pid}) -> ${to.release} (pid ${to.pid})\n`,
    );
  return EXIT.ok;
}

export async function rebaseMount(
  image: string,
  [mount, ...more]: readonly string[],
  { json }: { readonly json: boolean },
): Promise<ExitStatus> {
  if (image === '') throw new CfsError('usage', '--rebase needs an IMAGE');
  if (mount === undefined || more.length > 0) throw new CfsError('usage', '--rebase takes one MOUNTPOINT');
  const { rebase } = await import('../../src/mount/rebase.ts');
  const rebased = await rebase(mount, image);
  if (json) printJson(rebased);
  else {
    const { mountpoint, from, to, kept } = rebased;
    const files = kept === 0 ? 'no file' : kept === 1 ? '1 file' : `${kept} files`;
    const line = `${oneLine(mountpoint)}: image ${from.slice(0, 8)}… -> ${to.slice(0, 8)}…; ${files} in the upper layer`;
    process.stdout.write(`${line}\n`);
  }
  return EXIT.ok;
}
