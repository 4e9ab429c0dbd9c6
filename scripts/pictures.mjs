#!/usr/bin/env node
// Makes the pictures of the README, with what `make build` made:
//   scripts/pictures.mjs chart [DIR]   DIR/speed.svg, from bench/results/rootfs.json
//   scripts/pictures.mjs demo [DIR]    DIR/demo.svg, from a real run: packs part of /usr/share, mounts it, kills the
//                                      server while tar reads, flips a bit. As root, on Linux 6.9 or later
// DIR is docs by default.
import { spawn } from 'node:child_process';
import { cpSync, existsSync, mkdtempSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const [what = '', directory = join(root, 'docs')] = process.argv.slice(2);

/** Runs the commands, in a directory that is removed. */
async function record() {
  const work = mkdtempSync(join(process.env['TMPDIR'] ?? '/var/tmp', 'cfs-pictures.'));
  const shell = new Shell(work);
  try {
    prepare(work);
    const steps = [];
    const show = async (command) => {
      steps.push(await shell.run(command));
      return steps.at(-1).output.map(({ text }) => text);
    };
    const note = (text) => steps.push({ command: `# ${text}`, output: [], seconds: 0 });

    note('pack a directory, change it, pack it again: only what is new is read and stored');
    await show('cfs-mkimage --store store doc 1.cfs');
    await show("seq 2000 > doc/news; cfs-mkimage --store store doc 2.cfs");
    note('mount the image; kill its server while tar reads');
    const mounting = await shell.run('cfs-mount --json --repo store --log log 2.cfs mnt');
    const { pid } = JSON.parse(mounting.output[0]?.text ?? '');
    steps.push({ ...mounting, command: 'cfs-mount --repo store --log log 2.cfs mnt', output: [] });
    await show('tar -c --sort=name -C mnt . | sha256sum > sum &');
    // tar has begun when its archive is in the pipe
    await shell.run(`until grep -q '^rchar: [0-9]\\{7\\}' /proc/$(jobs -p %1)/io; do :; done`);
    const [killed = ''] = await show(`kill -9 ${pid}; wait %1; cat sum`);
    const [source = ''] = await show('tar -c --sort=name -C doc . | sha256sum');
    if (killed !== source || !/^[0-9a-f]{64}/.test(source)) throw new Error(`tar read something else: ${killed}, ${source}`);
    const said = await show('cut -d" " -f3- log');
    if (!said.some((line) => line.includes('continues'))) throw new Error(`the log: ${said}`);
    note('flip one bit of one object');
    const [object = ''] = (await shell.run(`cfs-info stat 2.cfs /${FILE} | awk '$1 == "object:" { print $2 }'`)).output.map(({ text }) => text);
    await show(`./flip-bit store/objects/${object.slice(0, 2)}/${object.slice(2)}`);
    const [error = ''] = await show(`cat mnt/${FILE}`);
    if (!error.includes('Input/output error')) throw new Error(`a damaged file was readable: ${error}`);
    await show('cfs-info log mnt');
    return {
      title: 'cfs: a recording of a real run',
      summary: 'A directory is packed, changed and packed again; the second image needs space only for what is new. It is mounted. The server is killed while tar reads, and tar gets the same bytes as from the source. A bit of an object is flipped: reading the file fails with "Input/output error", and the log names the object.',
      steps: steps.map((step) => ({ ...step, output: step.output.map((line) => ({ ...line, text: forReaders(line.text, work) })), command: forReaders(step.command, work) })),
    };
  } finally {
    await shell.run('umount mnt').catch(() => {});
    shell.end();
    if (!readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${work}/mnt `)) rmSync(work, { recursive: true, force: true });
  }
}

/** Digests of 64 digits would bury the rest. */
function forReaders(text, work) {
  return text
    .replaceAll(`${work}/`, '')
    .replace(/\b([0-9a-f]{2}\/)?([0-9a-f]{10})[0-9a-f]{50,54}\b/g, '$1$2…')
    .replace(/\t/g, '  ');
}

/** The file that is damaged: in a directory of the source. */
const FILE = 'cfs-example';

function prepare(work) {
  const wanted = '/usr/share/doc';
  const source = existsSync(wanted) && readdirSync(wanted).length > 20 ? wanted : '/usr/share';
  cpSync(source, join(work, 'doc'), { recursive: true, preserveTimestamps: true, verbatimSymlinks: true });
  writeFileSync(join(work, 'doc', FILE), 'An example.\n'.repeat(1000));
  mkdirSync(join(work, 'mnt'));
  mkdirSync(join(work, 'bin'));
  for (const tool of ['cfs-mkimage', 'cfs-mount', 'cfs-info']) symlinkSync(join(root, 'dist/tools', `${tool}.js`), join(work, 'bin', tool));
  writeFileSync(join(work, 'flip-bit'), FLIP, { mode: 0o755 });
}

const FLIP = `#!/bin/bash
at=$(($(stat -c %s "$1") / 2))
byte=$(od -An -tu1 -j $at -N 1 "$1")
chmod u+w "$1"
printf "\\\\$(printf %o $((byte ^ 1)))" | dd of="$1" bs=1 seek=$at conv=notrunc status=none
echo "byte $at: $((byte)) -> $((byte ^ 1))"
`;

/** One bash for all commands, so that jobs in the background are known to later ones. */
class Shell {
  #child;
  #lines = [];
  #rest = '';
  #wake = () => {};
  #ended = false;

  constructor(work) {
    this.#child = spawn('bash', [], {
      cwd: work,
      env: { ...process.env, PATH: `${work}/bin:${process.env['PATH']}`, LC_ALL: 'C.UTF-8', CFS_STORE: '' },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdin.on('error', () => {});
    this.#child.stdout.setEncoding('utf8').on('data', (text) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop() ?? '';
      const now = performance.now();
      for (const line of lines) this.#lines.push([line, now]);
      this.#wake();
    });
    this.#child.on('close', () => {
      this.#ended = true;
      this.#wake();
    });
    this.#child.stdin.write('exec 2>&1\n');
  }

  /** @returns the step, when the command has ended */
  async run(command) {
    const begin = performance.now();
    this.#child.stdin.write(`${command}\necho END-OF-STEP\n`);
    const output = [];
    for (;;) {
      const next = this.#lines.shift();
      if (next === undefined) {
        if (this.#ended) throw new Error(`the shell ended during: ${command}`);
        await new Promise((resolve) => (this.#wake = () => resolve(undefined)));
        continue;
      }
      const [text, now] = next;
      const at = (now - begin) / 1000;
      if (text === 'END-OF-STEP') return { command, output, seconds: at };
      output.push({ text, at });
    }
  }

  end() {
    this.#child.stdin.end();
  }
}

if (what === 'chart') {
  const { renderFrontChart } = await import(join(root, 'dist/bench/front-chart.js'));
  const results = JSON.parse(readFileSync(join(root, 'bench/results/rootfs.json'), 'utf8'));
  writeFileSync(join(directory, 'speed.svg'), renderFrontChart(results));
} else if (what === 'demo') {
  const { renderRecording } = await import(join(root, 'dist/bench/recording.js'));
  writeFileSync(join(directory, 'demo.svg'), renderRecording(await record()));
} else {
  console.error('usage: scripts/pictures.mjs chart|demo [DIR]');
  process.exit(1);
}
