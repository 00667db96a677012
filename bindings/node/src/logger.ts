// Where this package writes lines for people.
import { debuglog } from 'node:util';

/**
 * What takes the lines: `console`, a pino or a winston logger, or an object with some of these methods. Each
 * line is one text. One that throws is ignored.
 */
export interface Logger {
    debug?(message: string): unknown;
    info?(message: string): unknown;
    warn?(message: string): unknown;
    error?(message: string): unknown;
}

/** How much a line matters. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

const debug = debuglog('svantic');

/** Warnings and errors to the console, the rest where `NODE_DEBUG=svantic` shows it. */
const CONSOLE: Required<Logger> = {
    debug: (message) => debug('%s', message),
    info: (message) => debug('%s', message),
    warn: (message) => console.warn('%s', message),
    error: (message) => console.error('%s', message),
};

/** A logger that never throws. */
export class Log {
    readonly #logger: Logger | undefined;

    /**
     * `false` writes nothing; `undefined` is the default. Throws a `TypeError` for what cannot be a logger.
     */
    constructor(logger: unknown) {
        if (logger !== undefined && logger !== false && !is_logger(logger)) {
            throw new TypeError(
                'logger must be an object with methods such as debug, info, warn and error, ' +
                    'or false for none',
            );
        }
        this.#logger = logger === false ? undefined : ((logger as Logger | undefined) ?? CONSOLE);
    }

    /** Writes one line; `error` adds where it comes from. */
    say(level: LogLevel, message: string, error?: unknown): void {
        try {
            const logger = this.#logger;
            if (logger === undefined) return;
            const text = error === undefined ? message : `${message}\n${traced(error)}`;
            const outcome = logger[level]?.(text);
            // An async logger's failure must not end the process as an unhandled rejection.
            if (outcome instanceof Promise) outcome.catch(() => {});
        } catch {
            // A log that is full must not cost a dispatch.
        }
    }
}

function is_logger(logger: unknown): logger is Logger {
    if (logger === null || (typeof logger !== 'object' && typeof logger !== 'function')) return false;
    const methods = ['debug', 'info', 'warn', 'error'].map(
        (name) => (logger as Record<string, unknown>)[name],
    );
    return (
        methods.some((method) => typeof method === 'function') &&
        methods.every((method) => method === undefined || typeof method === 'function')
    );
}

function traced(error: unknown): string {
    try {
        const text = error instanceof Error ? error.stack : undefined;
        return text ? text : String(error);
    } catch {
        return '(an error that cannot be written)';
    }
}
