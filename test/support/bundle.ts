/** A module of the sources with all its imports, as one text: for separate processes, and for code that rewrites it. */
import { pathToFileURL } from 'node:url';
import { rolldown } from 'rolldown';

/** @param path of the module; packages are found from there, wherever the text is put */
export async function bundleOf(path: string): Promise<string> {
  const bundle = await rolldown({
    input: path,
    platform: 'node',
    external: /^node:/,
    optimization: { inlineConst: false },
  });
  const { output } = await bundle.generate({ format: 'esm', codeSplitting: false });
  await bundle.close();
  return output[0].code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(path)));
}
