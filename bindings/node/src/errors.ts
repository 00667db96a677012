// What can go wrong, as one class: programs look at its code.

/** The statuses of the C interface, by name. */
export const STATUS = {
    OK: 0,
    INVALID_ARGUMENT: 1,
    INVALID_HANDLE: 2,
    INVALID_JSON: 3,
    INVALID_STATE: 4,
    WOULD_DEADLOCK: 5,
    FORKED: 6,
    NOT_FOUND: 7,
    TIMEOUT: 20,
    CANCELLED: 21,
    NETWORK: 22,
    TLS: 23,
    AUTH: 24,
    REMOTE: 25,
    PROTOCOL: 26,
    INTERNAL: 90,
} as const;

/** The kind of a failure, which is the status of the C interface by name. */
export type SvanticStatus = keyof typeof STATUS;

const STATUS_NAMES: ReadonlyMap<number, SvanticStatus> = new Map(
    Object.entries(STATUS).map(([name, code]) => [code, name as SvanticStatus]),
);

/** An error as the library tells it. */
export interface ErrorFields {
    readonly status?: number;
    readonly code?: string;
    readonly message?: string;
    readonly hint?: string | null;
    readonly http_status?: number | null;
    readonly retryable?: boolean;
}

/** What may be said of a {@link SvanticError} beside its message. */
export interface SvanticErrorOptions {
    /** A stable name; default: the status. */
    readonly code?: string;
    /** The kind of the failure; default `INTERNAL`. */
    readonly status?: SvanticStatus;
    /** What to do about it. */
    readonly hint?: string | undefined;
    /** The HTTP status that the mesh answered with. */
    readonly http_status?: number | undefined;
    /** Whether the same call may succeed later without a change on this side. */
    readonly retryable?: boolean;
    /** What led to it. */
    readonly cause?: unknown;
}

/**
 * A failure that the library reported.
 *
 * Its `message` says what failed, on what and why, then the code in brackets, then what to do. No secret is
 * ever in one. What is plainly a mistake in the calling program, such as a number in place of a text, is a
 * `TypeError`.
 */
export class SvanticError extends Error {
    /** A stable name such as `"UNAUTHORIZED"`: the mesh's own where it sent one. */
    readonly code: string;
    /** The kind of the failure, such as `"AUTH"`. */
    readonly status: SvanticStatus;
    /** The same as a number: the status of the C interface. */
    readonly status_code: number;
    /** The HTTP status that the mesh answered with, if it did. */
    readonly http_status: number | undefined;
    /** Whether the same call may succeed later without a change on this side. */
    readonly retryable: boolean;
    /** What to do about it, where that is known. */
    readonly hint: string | undefined;

    /** `message` says what failed, on what, and why. */
    constructor(message: string, options: SvanticErrorOptions = {}) {
        const status = options.status ?? 'INTERNAL';
        const code = options.code ?? status;
        const told = `${message} [${code}]`;
        super(
            options.hint === undefined ? told : `${told}. ${options.hint}`,
            'cause' in options ? { cause: options.cause } : undefined,
        );
        this.code = code;
        this.status = status;
        this.status_code = Object.hasOwn(STATUS, status) ? STATUS[status] : STATUS.INTERNAL;
        this.http_status = options.http_status;
        this.retryable = options.retryable ?? false;
        this.hint = options.hint;
    }

    static {
        // On the prototype, where minifiers cannot change it and console.log() does not list it.
        Object.defineProperty(this.prototype, 'name', {
            value: 'SvanticError',
            configurable: true,
            writable: true,
        });
    }
}

/** What may be said of a {@link CapabilityError} beside its message. */
export interface CapabilityErrorOptions {
    /**
     * The code on the wire, 1 to 128 bytes without control characters; default `HANDLER_ERROR`. Keep secrets
     * and paths out of it.
     */
    readonly code?: string | undefined;
    /** What led to it; it stays in this process. */
    readonly cause?: unknown;
}

/**
 * Throw it in a handler to tell the mesh what went wrong, in words that are meant for the caller.
 *
 * Its message reaches the mesh also with `redact_handler_errors`. Throws a `TypeError` for a code that the
 * wire cannot carry.
 */
export class CapabilityError extends Error {
    /** The code on the wire; `undefined` is `HANDLER_ERROR`. */
    readonly code: string | undefined;

    constructor(message: string, options: CapabilityErrorOptions = {}) {
        super(message, 'cause' in options ? { cause: options.cause } : undefined);
        const { code } = options;
        if (code !== undefined && !is_wire_code(code)) {
            throw new TypeError(
                `the code of a CapabilityError is ${JSON.stringify(code)}, and must be a text of ` +
                    '1 to 128 bytes without control characters',
            );
        }
        this.code = code;
    }

    static {
        Object.defineProperty(this.prototype, 'name', {
            value: 'CapabilityError',
            configurable: true,
            writable: true,
        });
    }
}

/** Whether the library takes this as the code of an error. */
export function is_wire_code(code: unknown): code is string {
    return (
        typeof code === 'string' &&
        code.length > 0 &&
        Buffer.byteLength(code) <= 128 &&
        code.isWellFormed() &&
        !/\p{Cc}/u.test(code)
    );
}

/** The error for what the library tells. */
export function from_fields(fields: ErrorFields, cause?: unknown): SvanticError {
    const status = STATUS_NAMES.get(fields.status ?? STATUS.INTERNAL) ?? 'INTERNAL';
    return new SvanticError(fields.message ?? '', {
        status,
        code: fields.code ?? status,
        hint: fields.hint ?? undefined,
        http_status: fields.http_status ?? undefined,
        retryable: fields.retryable ?? false,
        ...(cause === undefined ? {} : { cause }),
    });
}

/**
 * What a call on a connector that has ended fails with; `failure` is what ended it, if it did not end in
 * peace.
 */
export function ended(failure?: SvanticError): SvanticError {
    return new SvanticError('the connector has ended', {
        status: 'INVALID_STATE',
        code: 'CLOSED',
        hint: 'make a new MeshConnector',
        ...(failure === undefined ? {} : { cause: failure }),
    });
}

/** What an operation that the end of its connector overtook fails with. */
export function overtaken(failure?: SvanticError): SvanticError {
    return new SvanticError('the connector has ended before the operation did', {
        status: 'CANCELLED',
        code: 'CLOSED',
        ...(failure === undefined ? {} : { cause: failure }),
    });
}

/** What an error says, in text that UTF-8 can carry; the name of its type where it says nothing. */
export function words_of(error: unknown): string {
    try {
        const message = (error as Error | null | undefined)?.message;
        if (typeof message !== 'string') return String(error).toWellFormed();
        return (message || String((error as Error).name) || 'Error').toWellFormed();
    } catch {
        return 'an error that cannot say what it is'; // it is being answered, whatever its properties may do
    }
}
