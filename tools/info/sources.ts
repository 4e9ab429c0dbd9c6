import { printable } from '../../src/base/bytes.ts';
import { formatHandle } from '../../src/base/handle-format.ts';
import { askMountAt, mountpointOf } from '../../src/mount-info/ask-mount-at.ts';
import { jsonOfSources } from '../../src/mount-info/saved-sources.ts';
import type { SourceRecord } from '../../src/mount-info/source-record.ts';
import { formatLines } from './inode.ts';
import type { Output } from './output.ts';

/**
 * Shows the sources of the mount of `path`. The JSON form is the input of `cfs-mount --from`.
 * @throws CfsError as `askMountAt`
 */
export function showSources(path: string, json: boolean, out: Output): void {
  const { mount, sources } = askMountAt(path);
  if (json)
    out.text(`${JSON.stringify(jsonOfSources(mount, mountpointOf(path) ?? mount.mountpoint, sources), null, 2)}\n`);
  else out.text(sources.map(textOfSource).join('\n'));
}

function textOfSource(source: SourceRecord): string {
  const { kind, index, id, path, given, device, fsType, fsUuid, mountId, handle, parent } = source;
  const lines: [key: string, value: string][] = [
    [kind === 'repository' ? `repository ${index}` : kind, path === undefined ? GONE : printable(path)],
    ...(id === '' ? [] : [[kind === 'image' ? 'id' : 'uuid', id] as [string, string]]),
    ['given as', printable(given)],
    [
      'file system',
      `${fsType} ${device.major}:${device.minor}, ${fsUuid === undefined ? 'no uuid' : `uuid ${fsUuid}`}`,
    ],
    ['mount id', String(mountId)],
    ['handle', handle === undefined ? 'none: the file system has no handles' : formatHandle(handle)],
  ];
  if (parent !== undefined) lines.push(['in directory', `${formatHandle(parent.handle)} ${printable(parent.name)}`]);
  return formatLines(lines);
}

const GONE = 'gone: it was deleted or replaced, or its file system was unmounted';
