/**
 * The requests that a server which takes over has sent again are those of the last server. None of them is one that it
 * has read itself, which would be carried out twice.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { useScratch } from './harness.ts';
import { succeed } from './run.ts';
import { isAlive, isSupervisor, sessionMembers, until } from './system.ts';

const scratch = useScratch();
const KILLS = 4;
/** A server that is killed between two requests leaves none to be sent again: then others are killed. */
const MOST_KILLS = 100;
const CALLERS = [1, 2, 3, 4];
/** Bit 63 of a request's number. */
const RESENT = 1n << 63n;

/** Writes a file to the disk again and again until a file exists: a server is nearly always within such a request. */
const CALLER = 'until [ -e "$2" ]; do dd if=/dev/zero of="$1" bs=4k count=1 conv=notrunc,fsync status=none; done';

/** The numbers of the requests that each server of a mount has served, by its log. */
function servedBy(log: string): bigint[][] {
  return log
    .split('the server died')
    .map((part) => [...part.matchAll(/ unique (\d+) /g)].map(([, unique]) => BigInt(unique as string)));
}

test('a server serves no request a second time because it has requests sent again', async () => {
  const source = scratch.directory('source');
  writeFileSync(join(source, 'file'), 'content');
  const { image } = await scratch.pack(source);
  const [log, stop] = [scratch.at('log'), scratch.at('stop')];
  const layers = [`upperdir=${scratch.directory('upper')}`, `workdir=${scratch.directory('work')}`];
  const mounted = await scratch.mount(image, { words: ['debug', ...layers], args: ['--log', log] });
  const requests = (): number => readFileSync(log, 'utf8').split('FSYNC').length;
  let kills = 0;
  const hasResent = (): boolean =>
    servedBy(readFileSync(log, 'utf8'))
      .flat()
      .some((unique) => unique >= RESENT);
  const callers = CALLERS.map((caller) => succeed(['bash', '-c', CALLER, 'bash', mounted.at(`file-${caller}`), stop]));
  try {
    for (; kills < KILLS || (kills < MOST_KILLS && !hasResent()); kills++) {
      const before = requests();
      await until('this server has served requests', () => requests() > before + 20);
      const server = sessionMembers(mounted.pid).find((pid) => !isSupervisor(pid)) as number;
      process.kill(server, 'SIGKILL');
      await until(`${server} has ended`, () => !isAlive(server));
    }
    const before = requests();
    await until('the last server has served requests', () => requests() > before + 20);
  } finally {
    writeFileSync(stop, '');
    await Promise.all(callers);
  }
  await mounted.unmount();

  const servers = servedBy(readFileSync(log, 'utf8'));
  expect(servers).toHaveLength(kills + 1);
  const resent = servers.flat().filter((unique) => unique >= RESENT);
  expect(resent.length, 'requests sent again').toBeGreaterThan(0);
  const twice = servers.flatMap((uniques) => {
    const numbers = uniques.map((unique) => unique & ~RESENT);
    return numbers.filter((number, i) => numbers.indexOf(number) !== i);
  });
  expect(twice, 'served twice by one server').toEqual([]);
});
