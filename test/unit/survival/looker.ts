/** A process that looks at the files parked at descriptor 3 until its standard input ends or nothing is parked. */
import { closeSync, readFileSync } from 'node:fs';
import { lookAtParked } from '../../../src/survival/parking.ts';

let isOver = false;
process.stdin.on('end', () => {
  isOver = true;
});
process.stdin.resume();

let looks = 0;
function look(): void {
  const parked = isOver ? undefined : lookAtParked(3);
  if (parked === undefined) {
    process.stdout.write(`${JSON.stringify({ looks })}\n`);
    process.exit(0);
  }
  const contents = parked.fds.map((fd) => readFileSync(`/proc/self/fd/${fd}`, 'utf8'));
  for (const fd of parked.fds) closeSync(fd);
  if (JSON.stringify(parked.value) !== JSON.stringify(contents)) throw new Error(`not as it was parked: ${contents}`);
  if (++looks === 1) process.stdout.write('looking\n');
  setImmediate(look);
}
look();
