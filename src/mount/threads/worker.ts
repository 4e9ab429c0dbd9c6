/** The program of a thread that serves a read-only mount. */
import '../../system/exact-paths.ts';
import { warmUp } from '../../fuse/warm-up.ts';
import { imageServer } from './image-server.ts';
import { runServingThread } from './serving-thread.ts';

runServingThread((message, parts) => {
  const { image } = parts;
  const { server } = imageServer(message, parts, message.restores);
  return {
    server,
    trace: { pathOf: (ino) => image.pathOf(ino) },
    warmUp: (isAsked) => warmUp(image, server.reply, isAsked),
  };
});
