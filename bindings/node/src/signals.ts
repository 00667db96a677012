// SIGINT and SIGTERM for an agent that is a whole program.
import { constants } from 'node:os';
import { isMainThread } from 'node:worker_threads';

const SIGNALS = ['SIGINT', 'SIGTERM'] as const;

/** Of all agents. */
const ours = new Set<(signal: NodeJS.Signals) => void>();
let ends_process = false;

/**
 * The first signal calls `leave`, and when that says that there is nothing to wait for, or at the next
 * signal, the process ends at once. Returns what leaves them to others again. In a worker nothing is done:
 * signals are the main thread's.
 *
 * `leave` is told whether nobody else in the program listens to the signal.
 */
export function catch_signals(leave: (alone: boolean) => boolean): () => void {
    if (!isMainThread) return () => {};
    let asked = false;
    const caught = (signal: NodeJS.Signals) => {
        const alone = process.listeners(signal).every((listener) => ours.has(listener));
        // The status that a shell shows for a program that a signal has ended.
        if (asked || !leave(alone)) process.exit(128 + constants.signals[signal]);
        asked = true;
    };
    ours.add(caught);
    // Before the others: those of once() are no longer there when they have been called.
    for (const signal of SIGNALS) process.prependListener(signal, caught);
    return () => {
        ours.delete(caught);
        for (const signal of SIGNALS) process.off(signal, caught);
    };
}

/**
 * Says that an agent has left because of a signal, after it has given the signals back. Ends the process when
 * it was the last and one of them `ends` it: where the application has a server and no ear for signals,
 * nobody else will.
 */
export function has_left(ends: boolean): void {
    ends_process ||= ends;
    if (ends_process && ours.size === 0) process.exit();
}
