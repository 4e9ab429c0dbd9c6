/**
 * cfs as a library: images of directory trees, contents in shared repositories, verified. See docs/library.md.
 * @module
 */
export { type Difference, type DiffOptions, diffImages, type ImageChange } from './api/diff.ts';
export { CfsError, type ErrorKind } from './api/error.ts';
export {
  type ExtractFailure,
  type ExtractOptions,
  type ExtractResult,
  extractImage,
  type TarOptions,
  tarImage,
} from './api/extract.ts';
export { type FileRange, type FileType, Image, ImageEntry, type ImageOptions, openImage } from './api/image.ts';
export {
  type BackgroundMount,
  listMounts,
  type Mount,
  type MountOptions,
  type MountPlace,
  mount,
  mountInBackground,
  type RemoteMountOptions,
  type UpperLayer,
  unmount,
  type VerifyMode,
} from './api/mount.ts';
export {
  computeImageId,
  type PackOptions,
  type PackProgress,
  type PackResult,
  pack,
  type TreeOptions,
} from './api/pack.ts';
export {
  type Amount,
  type CheckOptions,
  type CheckResult,
  checkRepository,
  collectGarbage,
  type GcOptions,
  type GcResult,
  type ImageUsage,
  initRepository,
  type LastCheck,
  type LastGc,
  lastRuns,
  listImages,
  openRepository,
  type RegisteredImage,
  type Repository,
  type RepositoryUsage,
  registerImage,
  repositoryUsage,
  type UsageOptions,
  unregisterImage,
  type WorkOptions,
} from './api/store.ts';
export {
  type CopyOptions,
  type CopyResult,
  copyImages,
  exportImages,
  type FetchedImage,
  type FetchImageOptions,
  fetchImage,
  type ImportOptions,
  type ImportResult,
  importImages,
  type NetworkOptions,
  type PruneOptions,
  type PruneResult,
  type PullOptions,
  type PullResult,
  type PushOptions,
  type PushResult,
  pruneDirectory,
  pullImage,
  pushImages,
  type TransferProgress,
  type TransferredImage,
} from './api/transfer.ts';
export { type DirectoryUsage, type DirectoryUsageOptions, directoryUsage } from './api/usage.ts';
