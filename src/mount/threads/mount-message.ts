/** The messages between the main thread of a server and the threads that serve the mount. */
import type { LogEvent, ObjectProblem, Severity } from '../../base/log.ts';
import type { NativeModules } from '../../base/native-package.ts';
import type { LayerDirectories, LayerSettings } from '../../layered/layer-parts.ts';
import type { SharedTables } from '../../manifest/tables.ts';
import type { SalvagedRow } from '../../upper/table-salvage.ts';
import type { LeaseFile } from '../mount-end.ts';
import type { ServedImage, ServedRemote } from '../served-image.ts';

/** The upper layer for the threads of one server; plain data except shared memory. Files are numbers of descriptors. */
export interface LayerMessage {
  readonly directories: LayerDirectories;
  readonly settings: LayerSettings;
  /** The table of identities, which an earlier server or the main thread has opened. */
  readonly table: number;
  /** The file of Intents. */
  readonly intents: number;
  /** Of manifest/identities.ts, encoded; undefined if the mount was not rebased. */
  readonly identities: Uint8Array | undefined;
  /** Of `allocateLayerState`. */
  readonly state: SharedArrayBuffer;
  /** Of `allocateWritableOpenFileState`. */
  readonly openFiles: SharedArrayBuffer;
  /** An earlier server of the mount has died. */
  readonly takesOver: boolean;
  /** The table is a new one in place of a damaged one, which had these rows. */
  readonly salvaged: readonly SalvagedRow[] | undefined;
}

/** The data for every thread once the mount exists. */
export interface MountMessage extends ServedImage {
  readonly tables: SharedTables;
  readonly openFileState: SharedArrayBuffer;
  readonly passthrough: boolean;
  /** The kernel collects writes. */
  readonly collects: boolean;
  readonly events: SharedArrayBuffer;
  /** WorkTable */
  readonly work: SharedArrayBuffer;
  /** The mutex of ServingTurn. */
  readonly turn: SharedArrayBuffer;
  /** The file of OpenFileJournal, -1 for none. */
  readonly journal: number;
  /** The number of processes that served the mount before this one. */
  readonly epoch: number;
  /** Memory of mount-end.ts. */
  readonly end: SharedArrayBuffer | undefined;
  /** Paths of the lists of leases that end with the mount. */
  readonly leaseFiles: readonly LeaseFile[];
  /** Those that the main thread has loaded. */
  readonly natives: NativeModules;
  /** Undefined if the mount is read-only. */
  readonly layer: LayerMessage | undefined;
}

/** The startup message of the thread that fetches objects. */
export interface FetchMessage extends MountMessage {
  /** The connection. */
  readonly fd: number;
  readonly remote: ServedRemote;
}

/** A request whose object no repository has, for the thread that fetches. */
export interface DeferredRequest {
  readonly type: 'deferred';
  /** The descriptor that it was read from: its answer goes there. */
  readonly fd: number;
  /** As the kernel sent it. */
  readonly bytes: Uint8Array;
}

/** The thread that fetches has answered a deferred request, or nobody waits for it. */
export interface AnsweredRequest {
  readonly type: 'answered';
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

/** The kernel reports a signal for the caller of some request. */
export interface InterruptedRequest {
  readonly type: 'interrupted';
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

/** Messages to the thread that fetches, after its startup message. `prefetch`: the mount answers. */
export type FetchOrder = DeferredRequest | InterruptedRequest | { readonly type: 'prefetch' | 'end' };

/** The startup message of a serving thread. */
export interface ServeMessage extends MountMessage {
  /** The connection, or a clone of it with a separate queue. */
  readonly fd: number;
  /** Whether the worker closes `fd` at the end. */
  readonly ownsFd: boolean;
  /** Whether the worker reads the journal first: the first one of a server that takes over. */
  readonly restores: boolean;
  /** Its number among the threads of the mount, from 0. */
  readonly thread: number;
}

/**
 * `ended`: the mount has ended; `working`: something may take long, and the main thread is to watch; `openings`: enough
 * files were opened for the first time that read-ahead may pay off.
 */
export type WorkerReport =
  | { readonly type: 'serving' }
  | { readonly type: 'ended' }
  | { readonly type: 'openings' }
  | { readonly type: 'working' }
  | DeferredRequest
  | InterruptedRequest
  | AnsweredRequest
  /** It is in the ProblemMemory already. */
  | {
      readonly type: 'log';
      readonly line: string;
      readonly severity: Severity;
      readonly about: ObjectProblem | undefined;
      readonly event: LogEvent | undefined;
    };
