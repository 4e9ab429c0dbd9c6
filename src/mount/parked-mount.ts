/**
 * The part of a mount that outlives the process that serves it: its description, and its open files. It is parked as
 * one JSON message with descriptors (survival/parking.ts). A server of another version may read the message: the next
 * one, after an upgrade. So keys are added, and never change their meaning, and a reader ignores unknown keys. VERSION
 * is raised if an older reader would misread the message.
 *
 * A mount with an upper layer has a version of its own: a reader that knows no layers would serve the image alone. And
 * so has one that was rebased: a reader that knows no identities would give the kernel other inode numbers.
 */
import { closeSync } from 'node:fs';
import { CfsError } from '../base/error.ts';
import { lookAtReplaced, type ParkedFiles, park, replaceParked } from '../survival/parking.ts';
import type { KeptUpper } from '../upper/prepare-upper.ts';
import type { UpperFeatures } from '../upper/upper-probe.ts';
import type { Connection } from './connection.ts';
import type { MountLease } from './mount-leases.ts';
import { closeSource, type MountSource } from './mount-sources.ts';

/** Of the message. Release 0.1.0 wrote no version, which means 1. */
const VERSION = 1;
const VERSION_WITH_LAYER = 2;
const VERSION_REBASED = 3;
/** A reader that knows no remote repositories would serve the cache alone. */
const VERSION_REMOTE = 4;

/** The open files of an upper layer, and the features of its file system. */
export interface ParkedLayer extends KeptUpper {
  /** The table of identities. */
  readonly table: number;
  /** The file in memory of Intents. */
  readonly intents: number;
  /** The file in memory of manifest/identities.ts, of a mount that was rebased. */
  readonly identities?: number;
  /** The name of the plan of the last rebase (upper/rebase-plan.ts). */
  readonly plan?: string;
  readonly features: UpperFeatures;
}

const LAYER_FILES = ['upper', 'base', 'lock', 'mark', 'table', 'intents'] as const satisfies (keyof ParkedLayer)[];

const layerFilesOf = ({ identities }: ParkedLayer): readonly (keyof ParkedLayer & string)[] =>
  identities === undefined ? LAYER_FILES : [...LAYER_FILES, 'identities'];

/** Open files by their descriptors. */
export interface ParkedMount<Settings> {
  /** The settings that the mount was made with. */
  readonly settings: Settings;
  readonly connection: Omit<Connection, 'epoch'>;
  readonly sources: readonly MountSource[];
  /** The file of ImageKeeper; undefined if the mount was made by a version without it. */
  readonly imageCopy: number | undefined;
  /** Undefined if the mount was made by a version without leases. */
  readonly leases: readonly MountLease[] | undefined;
  /** Undefined if the mount is read-only. */
  readonly layer?: ParkedLayer | undefined;
}

/** A parked mount without the part that only its maker knows. */
export type ParkedFilesOfMount = Omit<ParkedMount<unknown>, 'settings'>;

/** Each descriptor is replaced by its index among those sent with the message; -1 for none. */
interface Message {
  readonly version?: number;
  readonly settings: unknown;
  readonly mountpoint: string;
  readonly device?: string;
  readonly helper: boolean;
  readonly passthrough: boolean;
  readonly resends: boolean;
  readonly collects?: boolean;
  readonly connection: number;
  readonly journal: number;
  /** `name` in base64: it is bytes, which JSON cannot express. */
  readonly sources: readonly (Omit<MountSource, 'name' | 'fsUuid'> & {
    readonly name: string;
    readonly fsUuid?: string;
  })[];
  readonly imageCopy?: number;
  readonly leases?: readonly MountLease[];
  readonly layer?: ParkedLayer;
}

/** @returns the ends of the socket, as `park` returns them */
export const parkMount = <Settings>(mount: ParkedMount<Settings>): readonly [number, number] =>
  park(encodeParked(mount));

/** Parks a mount in place of the one that is parked, as `replaceParked`. */
export const replaceParkedMount = <Settings>(ends: readonly [number, number], mount: ParkedMount<Settings>): void =>
  replaceParked(ends, encodeParked(mount));

/**
 * @param ends of the socket
 * @returns undefined if nothing is parked: the mount has ended
 * @throws CfsError (mount) as `decodeParked`
 */
export function lookAtParkedMount<Settings>(ends: readonly [number, number]): ParkedMount<Settings> | undefined {
  const parked = lookAtReplaced(ends);
  return parked === undefined ? undefined : decodeParked(parked);
}

/** The message for a mount, and its open files. */
export function encodeParked<Settings>(mount: ParkedMount<Settings>): ParkedFiles {
  const { settings, connection, sources, imageCopy = -1, leases, layer } = mount;
  const { fd, journal, mountpoint, device, helper, passthrough, resends, collects } = connection;
  const fds: number[] = [];
  const add = (file: number): number => (file < 0 ? -1 : fds.push(file) - 1);
  const value = {
    version: versionOf(mount),
    settings,
    mountpoint,
    device,
    helper,
    passthrough,
    resends,
    collects,
    connection: add(fd),
    journal: add(journal),
    sources: sources.map((source) => ({
      ...source,
      fd: add(source.fd),
      directory: add(source.directory),
      name: Buffer.from(source.name).toString('base64'),
    })),
    imageCopy: add(imageCopy),
    leases: leases?.map((lease) => ({ ...lease, fd: add(lease.fd) })),
    layer: layer && withLayerFiles(layer, add),
  };
  return { value, fds };
}

function versionOf({ sources, layer }: ParkedMount<unknown>): number {
  if (sources.some(({ isCache }) => isCache === true)) return VERSION_REMOTE;
  if (layer === undefined) return VERSION;
  return layer.identities === undefined ? VERSION_WITH_LAYER : VERSION_REBASED;
}

/** The layer with other numbers of its files. */
function withLayerFiles(layer: ParkedLayer, numberOf: (file: number) => number): ParkedLayer {
  const files = layerFilesOf(layer).map((name) => [name, numberOf(layer[name] as number)]);
  return { ...layer, ...(Object.fromEntries(files) as Pick<ParkedLayer, (typeof LAYER_FILES)[number]>) };
}

/** @throws CfsError (mount) for the message of a later version that this one would misread */
export function decodeParked<Settings>({ value, fds }: ParkedFiles): ParkedMount<Settings> {
  const message = value as Message;
  const { version = 1, mountpoint, device, helper, passthrough, resends, collects } = message;
  if (version > VERSION_REMOTE) {
    throw new CfsError(
      'mount',
      `Cannot continue to serve ${mountpoint}: a later version of cfs made this mount (message ${version}; this one reads ${VERSION_REMOTE})`,
    );
  }
  const fdOf = (index: number): number => (index < 0 ? -1 : (fds[index] as number));
  return {
    settings: message.settings as Settings,
    connection: {
      fd: fdOf(message.connection),
      journal: fdOf(message.journal),
      mountpoint,
      device,
      helper,
      passthrough,
      resends,
      collects,
    },
    sources: message.sources.map((source) => ({
      ...source,
      fsUuid: source.fsUuid,
      fd: fdOf(source.fd),
      directory: fdOf(source.directory),
      name: Buffer.from(source.name, 'base64'),
    })),
    imageCopy: fdOf(message.imageCopy ?? -1),
    leases: message.leases?.map((lease) => ({ ...lease, fd: fdOf(lease.fd) })),
    layer: message.layer && withLayerFiles(message.layer, fdOf),
  };
}

/**
 * Closes the open files of a mount that this process does not continue to serve. Copies in other processes stay open.
 */
export function closeParked({ connection, sources, imageCopy = -1, leases = [], layer }: ParkedFilesOfMount): void {
  const ofLayer = layer === undefined ? [] : layerFilesOf(layer).map((name) => layer[name] as number);
  for (const fd of [connection.fd, connection.journal, imageCopy, ...leases.map((lease) => lease.fd), ...ofLayer]) {
    if (fd >= 0) closeSync(fd);
  }
  sources.forEach(closeSource);
}
