/**
 * Explores every interleaving of programs that share memory through `Atomics`, with the code under test itself.
 *
 * `loadStepwise` bundles a module and rewrites it: a function that uses Atomics, or calls one that does, becomes a
 * generator that yields before each operation. `explore` then runs the operations of several such programs in every
 * order that leads to another state. A state is the shared words and, for each program, the results that it has seen:
 * programs that saw the same results continue in the same way, so an order that leads to a known state is not followed
 * twice. For a program that has ended only its return value counts.
 *
 * Atomics are sequentially consistent, so the orders are all that can happen. Plain accesses of shared memory are not
 * seen: they happen together with the operation before them. Arrow functions are rewritten only if they are passed to
 * such a generator; getters are not.
 */

import { parseAst } from 'rolldown/parseAst';
import { bundleOf } from './bundle.ts';

/** An operation that a program is about to make: the name in Atomics, and its arguments. */
type Operation = readonly [name: string, words: Int32Array, index: number, ...values: number[]];
/** A program: yields its operations, receives their results, returns its result. */
export type Program<T = unknown> = Generator<Operation, T, unknown>;

/** A method as `loadStepwise` made it of one that returns `R`. */
export type Stepwise<A extends readonly unknown[], R> = (...args: A) => Program<R>;

interface Node {
  readonly type: string;
  readonly start: number;
  readonly end: number;
  readonly [key: string]: unknown;
}

const isNode = (value: unknown): value is Node => typeof value === 'object' && value !== null && 'type' in value;

function* childrenOf(node: Node): Generator<Node> {
  for (const value of Object.values(node)) {
    for (const child of Array.isArray(value) ? value : [value]) if (isNode(child)) yield child;
  }
}

function* calls(node: Node): Generator<Node> {
  if (node.type === 'CallExpression') yield node;
  if (node.type === 'ArrowFunctionExpression') return;
  for (const child of childrenOf(node)) yield* calls(child);
}

/** A function or method that can become a generator. */
interface Callable {
  readonly name: string;
  /** The position of its body's statements. */
  readonly node: Node;
  /** The position of the asterisk. */
  readonly star: number;
}

function* callables(node: Node): Generator<Callable> {
  if (node.type === 'FunctionDeclaration') {
    const id = node['id'] as Node;
    yield { name: id['name'] as string, node, star: id.start };
  } else if (node.type === 'MethodDefinition' && node['kind'] === 'method') {
    const key = node['key'] as Node;
    yield { name: key['name'] as string, node: node['value'] as Node, star: key.start };
  }
  for (const child of childrenOf(node)) yield* callables(child);
}

interface Callee {
  readonly name: string;
  readonly isAtomic: boolean;
}

/** `Atomics.load(…)` is "Atomics", `this.#mutex.lock()` is "lock", `release(…)` is "release". */
function calleeOf(call: Node): Callee {
  const callee = call['callee'] as Node;
  if (callee.type === 'Identifier') return { name: callee['name'] as string, isAtomic: false };
  const property = callee['property'] as Node | undefined;
  const object = callee['object'] as Node | undefined;
  return { name: (property?.['name'] as string | undefined) ?? '', isAtomic: object?.['name'] === 'Atomics' };
}

/** Arrow functions among the arguments of a call. */
const sectionsOf = (call: Node): Node[] =>
  (call['arguments'] as Node[]).filter(({ type }) => type === 'ArrowFunctionExpression');

function rewrite(code: string, constants: Readonly<Record<string, number>>, given: readonly string[]): string {
  const program = parseAst(code) as unknown as Node;
  const functions = [...callables(program)];
  const stepwise = new Set<string>(given);
  for (let size = -1; size !== stepwise.size; ) {
    size = stepwise.size;
    for (const { name, node } of functions) {
      for (const call of calls(node)) {
        const isStepwise = ({ isAtomic, name: called }: Callee): boolean => isAtomic || stepwise.has(called);
        const within = sectionsOf(call).flatMap((section) => [...calls(section['body'] as Node)]);
        if ([call, ...within].some((each) => isStepwise(calleeOf(each)))) stepwise.add(name);
      }
    }
  }
  const inserts: { at: number; text: string; remove?: number }[] = [];
  const rewriteCalls = (node: Node): void => {
    for (const call of calls(node)) {
      const callee = calleeOf(call);
      if (callee.isAtomic) {
        const args = call['arguments'] as Node[];
        inserts.push({
          at: call.start,
          text: `(yield [${JSON.stringify(callee.name)}, `,
          remove: (args[0] as Node).start - call.start,
        });
        inserts.push({ at: call.end - 1, text: '])', remove: 1 });
      } else if (stepwise.has(callee.name)) {
        inserts.push({ at: call.start, text: '(yield* ' });
        for (const section of sectionsOf(call)) rewriteSection(section);
        inserts.push({ at: call.end, text: ')' });
      }
    }
  };
  const rewriteSection = (arrow: Node): void => {
    const body = arrow['body'] as Node;
    const at = code.lastIndexOf('=>', body.start);
    inserts.push({ at: arrow.start, text: '(function* ' }, { at, text: '{ return ', remove: 2 });
    rewriteCalls(body);
    inserts.push({ at: arrow.end, text: '; }).bind(this)' });
  };
  for (const { name, node, star } of functions) {
    if (!stepwise.has(name)) continue;
    inserts.push({ at: star, text: '*' });
    rewriteCalls(node);
  }
  for (const [name, value] of Object.entries(constants)) {
    const found = new RegExp(`\\bconst ${name} = ([^;]+);`).exec(code);
    if (found === null) throw new Error(`no constant ${name}`);
    const at = found.index + found[0].length - 1 - (found[1] as string).length;
    inserts.push({ at, text: String(value), remove: (found[1] as string).length });
  }
  let result = '';
  let from = 0;
  // if several begin at one place, the outer call's text comes first, because it was found first
  for (const { at, text, remove = 0 } of inserts.sort((a, b) => a.at - b.at)) {
    result += code.slice(from, at) + text;
    from = at + remove;
  }
  return result + code.slice(from);
}

/**
 * A module, with what it imports, whose functions yield before each operation on shared memory.
 * @param path of the module
 * @param constants other values of constants, such as the number of threads
 * @param given names of functions that the test hands in, as generators
 */
export async function loadStepwise<T>(
  path: string,
  constants: Readonly<Record<string, number>> = {},
  given: readonly string[] = [],
): Promise<T> {
  const code = rewrite(await bundleOf(path), constants, given);
  return (await import(`data:text/javascript;base64,${Buffer.from(code).toString('base64')}`)) as T;
}

/** The start of a run. */
export interface Setting {
  /** All memory that the programs share. */
  readonly words: Int32Array;
  readonly programs: readonly Program[];
  /** Called when all programs have ended, with their return values; throws if these are wrong. */
  readonly check: (results: readonly unknown[]) => void;
  /** Called in every state: throws if the programs must not all die at that point. */
  readonly checkDeath?: () => void;
}

/** The programs of a setting on their way. */
class Run {
  readonly #setting: Setting;
  readonly #pending: IteratorResult<Operation, unknown>[];
  /** The results that each has seen, as text; of one that has ended only its return value matters. */
  readonly #seen: string[];
  /** The address at which a program sleeps in Atomics.wait. */
  readonly #asleep = new Map<number, number>();

  /** @param order does these steps, each by the program of that number */
  constructor(setting: Setting, order: readonly number[]) {
    this.#setting = setting;
    this.#seen = setting.programs.map(() => '');
    this.#pending = setting.programs.map((program) => program.next());
    for (const actor of order) this.step(actor);
  }

  /** The same for two runs that continue in the same way. */
  get key(): string {
    return `${this.#setting.words.join()}|${this.#seen.join('|')}|${[...this.#asleep].join()}`;
  }

  /** The programs that can continue. */
  get ready(): readonly number[] {
    const actors = this.#pending.map((_, actor) => actor);
    return actors.filter((actor) => !this.#pending[actor]?.done && !this.#asleep.has(actor));
  }

  get isDone(): boolean {
    return this.#pending.every(({ done }) => done);
  }

  checkDeath(): void {
    this.#setting.checkDeath?.();
  }

  check(): void {
    this.#setting.check(this.#pending.map(({ value }) => value));
  }

  step(actor: number): void {
    const [name, memory, index, ...values] = (this.#pending[actor] as IteratorYieldResult<Operation>).value;
    if (name === 'wait') {
      if (Atomics.load(memory, index) === values[0]) this.#asleep.set(actor, index);
      else this.#resume(actor, 'not-equal');
    } else if (name === 'notify') {
      let woken = 0;
      for (const [sleeper, at] of this.#asleep) {
        if (at !== index || woken === (values[0] ?? Number.POSITIVE_INFINITY)) continue;
        woken++;
        this.#asleep.delete(sleeper);
        this.#resume(sleeper, 'ok');
      }
      this.#resume(actor, woken);
    } else {
      const operation = Reflect.get(Atomics, name) as (...args: unknown[]) => number;
      this.#resume(actor, operation(memory, index, ...values));
    }
  }

  #resume(actor: number, value: unknown): void {
    const next = (this.#setting.programs[actor] as Program).next(value);
    this.#pending[actor] = next;
    this.#seen[actor] = next.done ? `= ${JSON.stringify(next.value)}` : `${this.#seen[actor]} ${value}`;
  }
}

/**
 * Runs the programs in every order. Throws, with the order, if a check fails or programs sleep that nothing wakes.
 * @param make makes the same setting each time
 * @returns the number of states
 */
export function explore(make: () => Setting): { readonly states: number } {
  const seen = new Set<string>();
  const orders: number[][] = [[]];
  for (let order = orders.pop(); order !== undefined; order = orders.pop()) {
    const run = new Run(make(), order);
    for (;;) {
      const { key } = run;
      if (seen.has(key)) break;
      seen.add(key);
      const [next, ...others] = run.ready;
      try {
        run.checkDeath();
        if (run.isDone) run.check();
        else if (next === undefined) throw new Error('programs sleep that nobody wakes');
      } catch (error) {
        throw new Error(`in the order ${order.join(' ')}`, { cause: error });
      }
      if (next === undefined) break;
      for (const actor of others) orders.push([...order, actor]);
      // generators cannot be copied: the others begin from the beginning
      order.push(next);
      run.step(next);
    }
  }
  return { states: seen.size };
}
