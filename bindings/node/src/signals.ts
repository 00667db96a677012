// SIGINT and SIGTERM for an agent that is a whole program.
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/**
 * The first signal calls `leave`, and when that says that there is nothing to wait for, or at the next
 * signal, the process ends at once. Returns what leaves them to others again. In a worker nothing is done:
 * signals are the main thread's.
 */
export function catch_signals(leave: () => boolean): () => void {
    if (!isMainThread) return () => {};
    let asked = false;
    const caught = (signal: NodeJS.Signals) => {
        // The status that a shell shows for a program that a signal has ended.
        if (asked || !leave()) process.exit(128 + constants.signals[signal]);
        asked = true;
    };
    for (const signal of SIGNALS) process.on(signal, caught);
    return () => {
        for (const signal of SIGNALS) process.off(signal, caught);
    };
}
