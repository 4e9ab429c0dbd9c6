/** Every experiment, in the order in which they run. Another one is another row. */
import type { Experiment } from './contract.ts';
import { PACK } from './pack.ts';
import { REMOTE_REPOSITORIES } from './remote.ts';
import { SCALE } from './scale.ts';
import { SHARED_MEMORY } from './shared.ts';

export const EXPERIMENTS: readonly Experiment[] = [PACK, REMOTE_REPOSITORIES, SHARED_MEMORY, SCALE];
