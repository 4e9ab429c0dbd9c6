/** Work on the elements of a list, some at the same time. */

/**
 * Calls `work` for each element, in their order. After an error no other element is begun, and those that were begun
 * end first: what they use may be closed then.
 * @param most how many are worked on at the same time
 * @throws the first error
 */
export async function eachAtOnce<T>(
  items: readonly T[],
  most: number,
  work: (item: T, index: number) => Promise<void>,
): Promise<void> {
  let next = 0;
  const errors: unknown[] = [];
  const go = async (): Promise<void> => {
    while (next < items.length && errors.length === 0) {
      const index = next++;
      try {
        await work(items[index] as T, index);
      } catch (error) {
        errors.push(error);
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(most, items.length) }, go));
  if (errors.length > 0) throw errors[0];
}
