/** The tables of images, for other modules of the library: not part of its interface. */
import type { ManifestTables } from '../manifest/tables.ts';

export const IMAGE_TABLES: WeakMap<object, ManifestTables> = new WeakMap();
