/** The program of a thread that serves a mount with an upper layer. */
import '../../system/exact-paths.ts';
import { layeredServer } from './layered-server.ts';
import { runServingThread } from './serving-thread.ts';

runServingThread(layeredServer);
