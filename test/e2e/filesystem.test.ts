/** The contract of test/support/suites/filesystem.ts with both drivers. */
import { filesystemContract } from '../support/suites/filesystem.ts';
import { useScratch } from './harness.ts';

const scratch = useScratch();

filesystemContract(
  {
    name: 'the kernel driver',
    mount: async (source) => (await scratch.mount((await scratch.pack(source)).image)).path,
    utf8Only: false,
    opensUnasked: false,
    milliseconds: false,
  },
  () => scratch.path,
);

filesystemContract(
  {
    name: 'the kernel driver with verify=read',
    mount: async (source) => (await scratch.mount((await scratch.pack(source)).image, { words: ['verify=read'] })).path,
    utf8Only: false,
    opensUnasked: true,
    milliseconds: false,
  },
  () => scratch.path,
);

filesystemContract(
  {
    name: 'fuse-native',
    // an image with ACLs is refused for other users: with libfuse 2 the kernel cannot enforce them
    mount: async (source, everybody) => {
      const words = ['driver=fuse-native', everybody ? 'allow_other' : 'noallow_other'];
      return (await scratch.mount((await scratch.pack(source)).image, { words })).path;
    },
    utf8Only: true,
    opensUnasked: false,
    milliseconds: true,
  },
  () => scratch.path,
);
