/** docker-registry with a tree as an image of one layer, and the programs that pull it. */
import { createHash } from 'node:crypto';
import { createReadStream, openAsBlob, statSync, writeFileSync } from 'node:fs';
import { CfsError } from '../src/base/error.ts';
import type { Bench } from './contract.ts';
import { run } from './process.ts';
import { findServer, Server } from './servers.ts';

const NAME = 'docker-registry';
const find = (): string | undefined => findServer(NAME, 'cfs-registry/registry/usr/bin/docker-registry');
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';

/** The compressions of the layer; each is a tag. */
export const COMPRESSIONS = ['gzip', 'zstd'] as const;
export type Compression = (typeof COMPRESSIONS)[number];

/** The reason why there is no registry; undefined if there is. */
export const registryUnavailable = (): string | undefined =>
  find() === undefined
    ? "docker-registry is neither installed nor fetched ('scripts/setup bench' fetches it)"
    : undefined;

/** JSON is YAML, too. */
const configuration = (root: string, port: number): string =>
  JSON.stringify({
    version: '0.1',
    log: { level: 'error', accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: root }, cache: { blobdescriptor: 'inmemory' } },
    http: { addr: `127.0.0.1:${port}` },
  });

export interface Registry {
  readonly server: Server;
  readonly proxy: Server;
}

/** @param ms the round-trip time */
export async function startRegistry(ms: number, bench: Bench): Promise<Registry> {
  const state = bench.scratch.directory('registry');
  const command = (port: number): [string, ...string[]] => {
    writeFileSync(`${state}/config.yml`, configuration(`${state}/blobs`, port));
    return [find() ?? NAME, 'serve', `${state}/config.yml`];
  };
  const server = await Server.start(NAME, command, bench);
  return { server, proxy: await server.far(ms, bench) };
}

/** The name that programs pull. */
export const imageName = ({ proxy }: Registry, name: string, compression: Compression): string =>
  `127.0.0.1:${proxy.port}/${name}:${compression}`;

/** Compresses an archive as the programs that make layers do. @returns the path of the result */
export async function compress(archive: string, compression: Compression, bench: Bench): Promise<string> {
  const target = `${archive}.${compression}`;
  const command = compression === 'gzip' ? `gzip -c '${archive}'` : `zstd -q -3 -c '${archive}'`;
  await run(['sh', '-c', `${command} >'${target}'`], bench.signal);
  return target;
}

/** Stores an image of one layer, without the round-trip time. */
export async function storeImage(
  { server }: Registry,
  name: string,
  compression: Compression,
  archive: string,
  layer: string,
): Promise<void> {
  const repository = `http://127.0.0.1:${server.port}/v2/${name}`;
  const config = new Blob([
    JSON.stringify({
      architecture: process.arch === 'x64' ? 'amd64' : process.arch,
      os: 'linux',
      config: { Cmd: ['/bin/sh'] },
      rootfs: { type: 'layers', diff_ids: [await digestOf(archive)] },
    }),
  ]);
  const configDigest = `sha256:${createHash('sha256')
    .update(Buffer.from(await config.arrayBuffer()))
    .digest('hex')}`;
  const layerDigest = await digestOf(layer);
  await storeBlob(repository, configDigest, config);
  await storeBlob(repository, layerDigest, await openAsBlob(layer));
  const manifest = {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: { mediaType: CONFIG, digest: configDigest, size: config.size },
    layers: [
      {
        mediaType: `application/vnd.oci.image.layer.v1.tar+${compression}`,
        digest: layerDigest,
        size: statSync(layer).size,
      },
    ],
  };
  const headers = { 'content-type': MANIFEST };
  const body = JSON.stringify(manifest);
  await expectCreated(fetch(`${repository}/manifests/${compression}`, { method: 'PUT', headers, body }));
}

async function storeBlob(repository: string, digest: string, body: Blob): Promise<void> {
  const begun = await fetch(`${repository}/blobs/uploads/`, { method: 'POST' });
  const location = new URL(begun.headers.get('location') ?? '', repository);
  location.searchParams.set('digest', digest);
  const headers = { 'content-type': 'application/octet-stream' };
  await expectCreated(fetch(location, { method: 'PUT', headers, body }));
}

async function expectCreated(answer: Promise<Response>): Promise<void> {
  const { status, text } = await answer.then(async (one) => ({ status: one.status, text: await one.text() }));
  if (status !== 201) throw new CfsError('system', `docker-registry answers ${status}: ${text.trim()}`);
}

async function digestOf(file: string): Promise<string> {
  const hash = createHash('sha256');
  for await (const piece of createReadStream(file, { highWaterMark: 1 << 20 })) hash.update(piece as Buffer);
  return `sha256:${hash.digest('hex')}`;
}
