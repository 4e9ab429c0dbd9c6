/**
 * A recording of commands in a terminal, as an SVG that plays once and then keeps its last frame. It needs no other
 * file and no script. Its colours follow the reader's light or dark scheme. Readers that ask for reduced motion, and
 * programs without animation, see the last frame at once. No I/O.
 */
import { element, picture, textElement } from './svg.ts';

/** A command, or a comment that begins with #, and the lines that it printed. */
export interface Step {
  readonly command: string;
  readonly output: readonly {
    readonly text: string;
    /** Since the command began, in seconds. */
    readonly at: number;
  }[];
  /** Until the command ended, in seconds. */
  readonly seconds: number;
}

export interface Recording {
  readonly title: string;
  /** Read by screen readers before the transcript. */
  readonly summary: string;
  readonly steps: readonly Step[];
}

/** How long it plays, in seconds, with `HOLD` at the end. */
export const LENGTH = 20;
const HOLD = 1;
const WIDTH = 880;
const MARGIN = 18;
const BAR = 34;
const LINE = 18.5;
const FONT = 13;
/** The width of a character, which `textLength` enforces for any font. */
const CHARACTER = 7.8;
export const COLUMNS: number = Math.floor((WIDTH - 2 * MARGIN) / CHARACTER);
/** Seconds for a character of a command, and after a step. */
const TYPING = 0.035;
const PAUSE = 0.5;
/** A step that takes longer is shown as long as this. */
const LONGEST = 2.5;

const CSS = `
.panel { fill: #f6f8fa; stroke: #d1d9e0 } .curtain { fill: #f6f8fa } .text { fill: #1f2328 } .soft { fill: #59636e }
.command { fill: #0550ae; font-weight: 600 } .error { fill: #c21c2c; font-weight: 600 }
@media (prefers-color-scheme: dark) {
.panel { fill: #161b22; stroke: #30363d } .curtain { fill: #161b22 } .text { fill: #e6edf3 } .soft { fill: #9198a1 }
.command { fill: #79c0ff } .error { fill: #ff7b72 } }
.line { animation: appear 1ms linear both } @keyframes appear { from { opacity: 0 } to { opacity: 1 } }
.curtain { opacity: 0; transform-box: fill-box; transform-origin: right }
@keyframes type { from { opacity: 1 } 99.9% { opacity: 1; transform: scaleX(0) } to { opacity: 0; transform: scaleX(0) } }
@media (prefers-reduced-motion: reduce) { .line, .curtain { animation: none !important } }
`.trim();

const cut = (text: string): string => (text.length > COLUMNS ? `${text.slice(0, COLUMNS - 1)}…` : text);

interface Line {
  readonly text: string;
  readonly kind: 'command' | 'soft' | 'error' | 'text';
  /** Seconds from the beginning, not scaled. */
  readonly at: number;
  readonly typing: number;
}

function linesOf(steps: readonly Step[]): { lines: Line[]; end: number } {
  const lines: Line[] = [];
  let now = 0;
  for (const { command, output, seconds } of steps) {
    const isComment = command.startsWith('#');
    const typing = isComment ? 0 : command.length * TYPING;
    const text = cut(isComment ? command : `$ ${command}`);
    lines.push({ text, kind: isComment ? 'soft' : 'command', at: now, typing });
    now += typing;
    const speed = Math.min(1, LONGEST / Math.max(seconds, 0.001));
    for (const { text: line, at } of output) {
      const kind = /\berror\b/i.test(line) ? 'error' : 'text';
      lines.push({ text: cut(line), kind, at: now + at * speed, typing: 0 });
    }
    now += seconds * speed + PAUSE;
  }
  return { lines, end: now };
}

/** The whole file. */
export function renderRecording({ title, summary, steps }: Recording): string {
  const { lines, end } = linesOf(steps);
  const scale = (LENGTH - HOLD) / end;
  const height = Math.ceil(BAR + lines.length * LINE + MARGIN);
  const transcript = lines.map(({ text }) => text).join('\n');
  const rows = lines.map((line, i) => renderLine(line, BAR + (i + 1) * LINE, scale));
  const parts = [
    element('rect', { x: 0.5, y: 0.5, width: WIDTH - 1, height: height - 1, rx: 8, class: 'panel' }),
    textElement(MARGIN, 24, title, { class: 'soft', 'font-weight': 600 }),
    ...rows,
  ];
  return picture({
    width: WIDTH,
    height,
    title,
    description: `${summary}\n${transcript}`,
    css: CSS,
    fontFamily: 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace',
    fontSize: FONT,
    parts,
  });
}

function renderLine({ text, kind, at, typing }: Line, y: number, scale: number): string {
  const delay = `${(at * scale).toFixed(2)}s`;
  const shown = textElement(MARGIN, y, text, {
    class: kind,
    'xml:space': 'preserve',
    textLength: text.length * CHARACTER,
    lengthAdjust: 'spacingAndGlyphs',
  });
  const parts = text === '' ? [] : [shown];
  if (typing > 0) {
    const characters = text.length - 2;
    parts.push(
      element('rect', {
        x: MARGIN + 2 * CHARACTER,
        y: y - 14,
        width: characters * CHARACTER + 1,
        height: LINE,
        class: 'curtain',
        style: `animation: type ${(typing * scale).toFixed(2)}s steps(${characters}) ${delay} both`,
      }),
    );
  }
  return element('g', { class: 'line', style: `animation-delay: ${delay}` }, parts.join(''));
}
