// What is done when the process ends.
import { isMainThread } from 'node:worker_threads';

/** How long the farewells may take. */
const FAREWELL_MS = 1000;

/**
 * Says goodbye to the mesh when the process ends with agents that are still connected.
 *
 * Only in the main thread: the call ends the agents of the whole process. Those of a worker end with their
 * lifeline.
 */
export function end_at_exit(library: { readonly shutdown: (timeout_ms: number) => number }): void {
    if (isMainThread) process.on('exit', () => library.shutdown(FAREWELL_MS));
}
