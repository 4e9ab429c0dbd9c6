/** Commands of fast-check: a random step on all file systems, whose results must be the same. */
import fc from 'fast-check';
import { arbitraryStep } from './arbitrary-steps.ts';
import { mayReturn } from './known-differences.ts';
import type { Step, Who } from './steps.ts';
import { compareTrees, namesIn, performAll, type World } from './worlds.ts';

interface Model {
  /** The number of steps so far: everything is compared now and then. */
  steps: number;
  /** Existing names. */
  names: string[];
}

type Command = fc.Command<Model, World>;

const LOOK_EVERY = 8;

/** Does a step, and compares the results; after every eighth step, compares the trees, too. */
export class StepCommand implements Command {
  /** The step; once it has run, with the names of files in place of their numbers. */
  step: Step;
  readonly who: Who;

  constructor(step: Step, who: Who) {
    this.step = step;
    this.who = who;
  }

  check(): boolean {
    return true;
  }

  run(model: Model, world: World): void {
    this.step = named(this.step, model.names);
    const results = performAll(world, this.step, this.who);
    const [first, ...others] = [...results];
    for (const [name, result] of others) {
      const expected = first?.[1] ?? '';
      if (result === expected || mayReturn(name, this.step, this.who, expected, result)) continue;
      throw new Error(`${first?.[0]}: ${expected}\n${name}: ${result}\nof ${this}`);
    }
    if (CHANGES_NAMES.has(this.step.op) && first?.[1] === 'ok') model.names = namesIn(world);
    model.steps++;
    if (model.steps % LOOK_EVERY === 0) compareTrees(world);
  }

  toString(): string {
    return `${this.who} ${JSON.stringify(this.step)}`;
  }
}

const CHANGES_NAMES: ReadonlySet<string> = new Set([
  'open',
  'linkDescriptor',
  'mkdir',
  'mknod',
  'symlink',
  'link',
  'linkFollowing',
  'rename',
  'unlink',
  'rmdir',
]);

/** The present name for "#17". */
function named(step: Step, names: readonly string[]): Step {
  const nameOf = (path: string): string =>
    path.startsWith('#') ? (names[Number(path.slice(1)) % names.length] ?? 'nothing') : path;
  const path = 'path' in step ? { path: nameOf(step.path) } : {};
  const to = 'to' in step && typeof step.to === 'string' ? { to: nameOf(step.to) } : {};
  return { ...step, ...path, ...to } as Step;
}

/** Lists of commands, at most `steps` long. */
export const commandsOf = (steps: number): fc.Arbitrary<Iterable<Command>> =>
  fc.commands([arbitraryStep.map(({ step, who }) => new StepCommand(step, who))], { maxCommands: steps, size: 'max' });

/** Runs them on an unchanged world, then compares the trees. */
export function runCommands(world: World, commands: Iterable<Command>): void {
  fc.modelRun(() => ({ model: { steps: 0, names: namesIn(world) }, real: world }), commands);
  compareTrees(world);
}
