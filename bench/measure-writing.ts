/**
 * The method of the group `write`, the same as that of measure.ts: all writers have a mount at the same time and take
 * turns, one turn is discarded, then the rounds count. Each line begins with new places and mounts; a server stays from
 * the first turn of a line to the last, so it is warm.
 */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { reasonOf } from '../src/base/error.ts';
import { sync } from './caches.ts';
import type { Sample } from './cell.ts';
import { writeResult } from './cell.ts';
import type { Bench, Result } from './contract.ts';
import { cacheDrops } from './foreign-drops.ts';
import { OUT_OF_TIME } from './measure.ts';
import { makePlace, placeUnavailable, removePlace } from './places.ts';
import { run } from './process.ts';
import { usageOf } from './processes.ts';
import { affordableRounds, withDeadline } from './time-limit.ts';
import type { Place, PlaceKind, WriteLine, Writer, WriterRow } from './writing.ts';

/** How often a turn is taken again because caches were dropped in it. */
const RETAKES = 3;

interface Running {
  readonly name: string;
  readonly writer: Writer;
  readonly place: Place;
  root: string;
  readonly samples: Sample[];
  rounds: number;
  limited?: string;
  /** The turns so far: each has a directory of its own. */
  turns: number;
}

/** Measures every line on every writer. @param record takes the results of a line as soon as it is done */
export async function measureWriting(
  rows: readonly WriterRow[],
  lines: readonly WriteLine[],
  kinds: readonly PlaceKind[],
  bench: Bench,
  record: (results: readonly Result[]) => void,
): Promise<void> {
  for (const kind of kinds) {
    const why = placeUnavailable(kind);
    if (why !== undefined) {
      bench.omit({ what: `writing to ${kind}`, why, failed: false });
      continue;
    }
    for (const line of lines) {
      const missing = line.unavailable?.() ?? (bench.outOfTime() ? OUT_OF_TIME : undefined);
      if (missing === undefined) record(await measureLine(line, kind, rows, bench));
      else bench.omit({ what: `${line.title}, ${kind}`, why: missing, failed: false });
    }
  }
}

async function measureLine(
  line: WriteLine,
  kind: PlaceKind,
  rows: readonly WriterRow[],
  bench: Bench,
): Promise<Result[]> {
  const what = `${line.title}, ${kind}`;
  const fitting = rows.filter(({ readOnly }) => readOnly !== true || line.lower === 'reads');
  const running: Running[] = [];
  try {
    for (const row of fitting) {
      const one = await startOne(row, line, kind, bench);
      if (one !== undefined) running.push(one);
    }
    await sync(bench.signal);
    await takeTurns(line, what, running, bench);
  } finally {
    // of those that failed, too
    for (const { name } of fitting) await removeOne(name, running, bench);
  }
  return running
    .filter(({ samples }) => samples.length > 0)
    .map(({ name, samples, limited }) => writeResult(line, kind, name, samples, limited, bench));
}

async function startOne(row: WriterRow, line: WriteLine, kind: PlaceKind, bench: Bench): Promise<Running | undefined> {
  const { name } = row;
  const writer = row.create(bench);
  const why = writer.available();
  if (why !== undefined) {
    bench.omit({ what: `writing with ${name}`, why, failed: false });
    return undefined;
  }
  bench.scratch.defer(() => writer.stop());
  try {
    bench.progress(`preparing ${name}`);
    await writer.prepare();
    const place = await makePlace(kind, name, bench);
    const root = await writer.start(place, line.lower !== undefined);
    return { name, writer, place, root, samples: [], rounds: bench.rounds, turns: 0 };
  } catch (error) {
    bench.signal.throwIfAborted();
    await writer.stop();
    bench.omit({ what: `${line.title}, ${kind}, ${name}`, why: reasonOf(error), failed: true });
    return undefined;
  }
}

async function removeOne(name: string, running: readonly Running[], bench: Bench): Promise<void> {
  try {
    await running.find((one) => one.name === name)?.writer.stop();
    await removePlace(name, bench);
  } catch (error) {
    bench.signal.throwIfAborted();
    bench.omit({ what: `unmounting ${name}`, why: reasonOf(error), failed: true });
  }
}

/** One that fails drops out of this line, not of the run. */
async function takeTurns(line: WriteLine, what: string, running: readonly Running[], bench: Bench): Promise<void> {
  const failed = new Set<Running>();
  for (let round = 0; round <= bench.rounds; round++) {
    for (const one of running) {
      if (failed.has(one) || round > one.rounds) continue;
      bench.progress(`${what}: ${one.name}, ${round === 0 ? 'warm-up' : `round ${round} of ${one.rounds}`}`);
      try {
        const begin = process.hrtime.bigint();
        const sample = await withDeadline(bench, (limited) => takeTurn(line, one, limited));
        if (round === 0) {
          const { rounds, limited } = affordableRounds(Number(process.hrtime.bigint() - begin), bench);
          one.rounds = rounds;
          if (limited !== undefined) one.limited = limited;
        }
        if (round > 0 || one.rounds === 0) one.samples.push(sample);
      } catch (error) {
        bench.signal.throwIfAborted();
        failed.add(one);
        one.samples.length = 0;
        bench.omit({ what: `${what}, ${one.name}`, why: reasonOf(error), failed: true });
      }
    }
  }
}

/** A turn in which nobody dropped the caches, if possible. */
async function takeTurn(line: WriteLine, one: Running, bench: Bench): Promise<Sample> {
  for (let again = 0; ; again++) {
    const before = cacheDrops();
    const sample = await takeOnce(line, one, bench);
    if (cacheDrops() === before || again === RETAKES) return sample;
  }
}

async function takeOnce(line: WriteLine, one: Running, bench: Bench): Promise<Sample> {
  if (line.lower === 'changes' && one.turns > 0) {
    await one.writer.stop();
    one.root = await one.writer.start(one.place, true);
  }
  const directory = join(one.root, `turn${one.turns++}`);
  if (line.lower === undefined) mkdirSync(directory);
  const turn = { root: one.root, directory, bench };
  await line.prepare?.(turn);
  // what was prepared, and what earlier turns wrote, is not written to the disk in the middle of this one
  await run(['sync', '--file-system', one.place.path], bench.signal);
  const before = usageOf(one.writer.daemon())?.cpuNs ?? 0;
  const ns = await line.run(turn);
  const after = usageOf(one.writer.daemon());
  await line.check?.(turn);
  await line.finish?.(turn);
  if (after === undefined) return { ns };
  return { ns, daemon: { cpuNs: after.cpuNs - before, rssBytes: after.rssBytes, pssBytes: after.pssBytes } };
}
