/** The duration of the random tests. */

/**
 * For each random test of `make test-posix`; 0 in `make test`, where each does one short run that is always the same.
 */
export const SECONDS = Number(process.env['CFS_POSIX_SECONDS'] ?? 0);

/** The seed of a run to repeat. */
const GIVEN = process.env['CFS_SEED'];

/**
 * Runs `work` with one seed after the other until the time is over: the seed that was given, or random ones, which are
 * printed. In a short run, or with a given seed, once.
 */
export async function withSeeds(name: string, work: (seed: number) => Promise<void> | void): Promise<void> {
  const end = Date.now() + SECONDS * 1000;
  do {
    const seed = GIVEN !== undefined ? Number(GIVEN) : SECONDS > 0 ? Math.floor(Math.random() * 2 ** 31) : 1;
    if (SECONDS > 0) console.log(`${name}: CFS_SEED=${seed}`);
    await work(seed);
  } while (GIVEN === undefined && Date.now() < end);
}
