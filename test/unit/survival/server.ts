/**
 * A server that a stand-in for the supervisor's script has started: says when it is ready, and dismisses it on SIGUSR2.
 */
import { appendFileSync } from 'node:fs';
import { Supervisor } from '../../../src/survival/supervisor.ts';

const [script = '', log = ''] = process.argv.slice(2);
const say = (line: string): void => appendFileSync(log, `${line}\n`);
const mount = { mountpoint: '/mnt/a b', device: '0:77', logFile: undefined };
const supervisor = Supervisor.ofParent(mount, say, { script, longMs: 0, pauseMs: 10 });
supervisor.tellAnswered();
process.on('SIGUSR2', () => {
  supervisor.dismiss();
  process.exit(0);
});
setInterval(() => undefined, 1_000_000);
say(`ready ${process.pid}`);
