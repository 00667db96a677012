// What every call that waits takes beside its own arguments.
import { nearest } from './options';

/** How long an operation may take, and what ends it before. */
export interface OperationOptions {
    /** The time limit in milliseconds; default: the configured one of the operation. */
    readonly timeout_ms?: number | undefined;
    /** Ends the operation; its promise then rejects with the signal's reason. */
    readonly signal?: AbortSignal | undefined;
}

/**
 * Throws a `TypeError` for what would be ignored without a word and was plainly meant. Not for everything
 * else: a method may be a listener, and is then called with whatever its event has.
 */
export function refuse_mistakes(options: unknown): void {
    if (typeof options === 'number') {
        throw new TypeError(`a time limit goes into an object: {timeout_ms: ${options}}`);
    }
    if (options === null || typeof options !== 'object' || 'timeout_ms' in options) return;
    const meant = Object.keys(options).find((key) => nearest(key, ['timeout_ms']) !== undefined);
    if (meant !== undefined) {
        const given = JSON.stringify(meant);
        throw new TypeError(`unknown option ${given} of a call; "timeout_ms" was probably meant`);
    }
}

/** The signal that ends an operation. Throws a `TypeError` for what is none. */
export function checked_signal(signal: unknown): AbortSignal | undefined {
    if (signal === undefined || signal === null) return undefined;
    if (typeof signal !== 'object' || !('aborted' in signal) || !('addEventListener' in signal)) {
        throw new TypeError('signal must be an AbortSignal');
    }
    return signal as AbortSignal;
}

/** A time limit as the library takes it: 0 is its configured default. */
export function milliseconds(timeout_ms: unknown): number {
    if (timeout_ms === undefined || timeout_ms === null) return 0;
    if (typeof timeout_ms !== 'number') {
        throw new TypeError(
            `timeout_ms is of type ${typeof timeout_ms}, and must be a number of milliseconds`,
        );
    }
    if (!(timeout_ms >= 0 && timeout_ms <= 0xffff_ffff)) {
        throw new RangeError(`timeout_ms is ${timeout_ms}, and must be 0 to 4294967295`);
    }
    return Math.max(1, Math.ceil(timeout_ms));
}
