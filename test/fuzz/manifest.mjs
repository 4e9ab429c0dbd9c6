// Bytes as an image: refused with one error, or decoded to tables for which every operation of the file system has an
// answer.
import { decodeManifest } from '../../dist/src/manifest/decode.js';
import { exercise } from './exercise.mjs';

export function fuzz(bytes) {
  let tables;
  try {
    tables = decodeManifest(bytes);
  } catch (error) {
    if (error?.name !== 'CfsError' && error?.constructor?.name !== 'CfsError') throw error;
    return;
  }
  exercise(tables);
}
