/** A worker thread that serves requests of a mount until the mount ends. Started by mount.ts. */
import { closeSync } from 'node:fs';
import { parentPort } from 'node:worker_threads';
import { contentsOf } from './contents.ts';
import { ImageFilesystem } from './fs/image-filesystem.ts';
import { cloneDevice, DeviceBackingRegistry, readRequest, writeReply } from './fuse/device.ts';
import { Dispatcher } from './fuse/dispatch.ts';
import { OpenFiles } from './fuse/open-files.ts';
import { ServingTurn } from './fuse/serving-turn.ts';
import { attachTables, type SharedTables } from './manifest/tables.ts';
import { openRepository } from './store/local.ts';
import type { ObjectState, VerifyMode } from './store/object-store.ts';

/** What a worker is told when the mount is there. */
export interface ServeMessage {
  /** The connection; the worker takes a clone of its own. */
  readonly fd: number;
  readonly tables: SharedTables;
  readonly repositories: readonly string[];
  readonly verify: VerifyMode;
  readonly objectState: ObjectState;
  readonly openFileState: SharedArrayBuffer;
  readonly passthrough: boolean;
  /** The mutex of ServingTurn. */
  readonly turn: SharedArrayBuffer;
}

export type WorkerReport = { readonly type: 'serving' } | { readonly type: 'log'; readonly line: string };

const report = (message: WorkerReport): void => parentPort?.postMessage(message);

// `serve` does not return to the event loop until the mount ends: nothing asynchronous works in here but
// posting to the main thread
parentPort?.once('message', (message: ServeMessage) => {
  serve(message);
  parentPort?.close();
});

function serve(message: ServeMessage): void {
  const log = (line: string): void => report({ type: 'log', line });
  const tables = attachTables(message.tables);
  const repositories = message.repositories.map((path) => openRepository(path, tables.header.hash));
  const contents = contentsOf(tables, repositories, message.verify, message.objectState, log);
  const fs = new ImageFilesystem(tables, contents);
  const fd = cloneDevice(message.fd);
  const registry = message.passthrough ? new DeviceBackingRegistry(fd) : undefined;
  const turn = new ServingTurn(message.turn);
  const openFiles = new OpenFiles(fs, message.openFileState, registry);
  const dispatcher = new Dispatcher(fs, openFiles, log, () => turn.pass());
  report({ type: 'serving' });
  try {
    serveDevice(fd, dispatcher, turn);
  } finally {
    if (fd !== message.fd) closeSync(fd);
  }
}

function serveDevice(fd: number, dispatcher: Dispatcher, turn: ServingTurn): void {
  const { request, reply } = dispatcher;
  try {
    for (;;) {
      turn.take();
      const length = readRequest(fd, request.bytes);
      if (length === 0) return;
      const replyLength = dispatcher.serve(length);
      if (replyLength > 0) writeReply(fd, reply.bytes, replyLength);
    }
  } finally {
    turn.pass();
  }
}
