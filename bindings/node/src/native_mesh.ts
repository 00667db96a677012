// One native handle: JSON in and out, a status becomes an exception. Knows no event loop and no waiting.
import { STATUS, SvanticError, ended, from_fields, type ErrorFields } from './errors';
import type { HostedRequest } from './hosted/exchange';
import { library, type Handle, type Library, type Out, type Property } from './library';

const { OK, INVALID_HANDLE, INVALID_STATE, TIMEOUT, CANCELLED } = STATUS;

/** No handle, so that the library refuses what comes later. */
const FREED: Handle = 0n;

/** Answers of more bytes get a buffer of their own, so that none of a large one stays behind. */
const REUSED_BYTES = 256 << 10;

/** The states of a connector, by the number that the library has for them. */
export const STATES = [
    'idle',
    'connecting',
    'connected',
    'reconnecting',
    'closed',
    'draining',
    'blocked',
    'failed',
] as const;

/** Where a connector is. */
export type ConnectorState = (typeof STATES)[number];

/** The exception for this thread's last failed call, which returned `status`. */
export function last_error(status: number): SvanticError {
    if (status === INVALID_HANDLE) return ended();
    const text = library().last_error_json();
    return from_fields(text ? (JSON.parse(text) as ErrorFields) : { status, message: `status ${status}` });
}

/** Throws what a call that did not return OK stands for. */
export function check(status: number): void {
    if (status !== OK) throw last_error(status);
}

/**
 * Throws a `TypeError` for what C cannot take as a text, whole. `what` is for the error; it may be a secret.
 */
export function c_text(text: unknown, what: string): string {
    if (typeof text !== 'string')
        throw new TypeError(`${what} is of type ${typeof text}, and must be a string`);
    if (text.includes('\0')) throw new TypeError(`${what} holds a NUL character`); // where it would end for C
    if (!text.isWellFormed()) throw new TypeError(`${what} holds a lone surrogate, which UTF-8 cannot carry`);
    return text;
}

/** The text that a function of the library hands out. */
export function text_of<Subject>(property: Property<Subject>, subject: Subject): string {
    const out: Out<string | null> = [null];
    check(property(subject, out));
    return out[0] ?? '';
}

/** Throws a `RangeError` for a number that JSON would turn into null, which says that nothing was given. */
function configuration(options: Readonly<Record<string, unknown>>): string {
    for (const [key, value] of Object.entries(options)) {
        if (typeof value === 'number' && !Number.isFinite(value)) {
            throw new RangeError(`\`${key}\` is ${value}, and must be a finite number`);
        }
    }
    return JSON.stringify(options);
}

/**
 * A handle in pull delivery. Every call returns at once. On one that was freed they throw the error with the
 * code `CLOSED`.
 *
 * The operations take a tag: their outcome comes as an item with it, unless they throw.
 */
export class NativeMesh {
    readonly #library: Library;
    #handle: Handle;
    #answers: Buffer | undefined;
    readonly #items: Out<string | null> = [null];
    readonly #contexts: Out<string | null> = [null];

    private constructor(native: Library, handle: Handle) {
        this.#library = native;
        this.#handle = handle;
    }

    /** A connector and the agent that it speaks for, from the configuration of `svantic_create`. */
    static create(config: Readonly<Record<string, unknown>>): NativeMesh {
        const native = library();
        const out: Out<Handle> = [0n];
        check(native.create(configuration({ ...config, delivery: 'pull' }), out));
        return new NativeMesh(native, out[0]);
    }

    /** A WebSocket alone, from the configuration of `svantic_create_transport`. */
    static create_transport(config: Readonly<Record<string, unknown>>): NativeMesh {
        const native = library();
        const out: Out<Handle> = [0n];
        check(native.create_transport(configuration(config), out));
        return new NativeMesh(native, out[0]);
    }

    /** Adds a capability; the mesh learns of it with connect or re_register. */
    define_capability(spec: Readonly<Record<string, unknown>>): void {
        check(this.#library.define_capability(this.#handle, JSON.stringify(spec), null, null, null));
    }

    /** Starts to connect. */
    connect(timeout_ms: number, tag: number): void {
        check(this.#library.connect_async(this.#handle, timeout_ms, null, tag));
    }

    /** Starts to disconnect. */
    disconnect(timeout_ms: number, tag: number): void {
        check(this.#library.disconnect_async(this.#handle, timeout_ms, null, tag));
    }

    /** Starts to announce today's capabilities. */
    re_register(timeout_ms: number, tag: number): void {
        check(this.#library.re_register_async(this.#handle, timeout_ms, null, tag));
    }

    /** Starts to exchange the credentials for a new token. */
    refresh_token(timeout_ms: number, tag: number): void {
        check(this.#library.refresh_token_async(this.#handle, null, timeout_ms, null, tag));
    }

    /** Replaces the token. */
    give_token(jwt: string): void {
        check(this.#library.refresh_token(this.#handle, c_text(jwt, 'the token'), 0));
    }

    /** Starts to open a session. */
    create_session(options: object | undefined, timeout_ms: number, tag: number): void {
        const text = options === undefined ? null : JSON.stringify(options);
        check(this.#library.create_session_async(this.#handle, text, timeout_ms, null, tag));
    }

    /** Starts to close a session. */
    close_session(session_id: string, timeout_ms: number, tag: number): void {
        const id = c_text(session_id, 'the session id');
        check(this.#library.close_session_async(this.#handle, id, timeout_ms, null, tag));
    }

    /** Starts to POST `body` to `path` of the mesh; the outcome has the reply's JSON. */
    request(
        path: string,
        body: object,
        headers: Readonly<Record<string, string>> | undefined,
        timeout_ms: number,
        tag: number,
    ): void {
        const more = headers === undefined ? null : JSON.stringify(headers);
        const text = JSON.stringify(body);
        check(
            this.#library.request_async(
                this.#handle,
                c_text(path, 'the path'),
                text,
                more,
                timeout_ms,
                null,
                tag,
            ),
        );
    }

    /** Starts to close a transport with this code and reason. */
    close_transport(code: number, reason: string, timeout_ms: number, tag: number): void {
        const why = c_text(reason, 'the reason');
        check(this.#library.close_transport_async(this.#handle, code, why, timeout_ms, null, tag));
    }

    /** Ends the operation that was started with this tag, if it is still pending. */
    cancel(tag: number): void {
        this.#library.cancel(this.#handle, tag);
    }

    /** Sends one frame of a transport, as JSON text. Throws `INVALID_STATE` when the link is not ready. */
    send_frame(frame: string): void {
        check(this.#library.send_frame(this.#handle, frame, Buffer.byteLength(frame)));
    }

    /** Tells what became of a socket that the application carries. */
    socket_event(event: Readonly<Record<string, unknown>>): void {
        const text = JSON.stringify(event);
        check(this.#library.socket_event(this.#handle, text, Buffer.byteLength(text)));
    }

    /** Says that the network may be another. */
    network_changed(): void {
        check(this.#library.network_changed(this.#handle));
    }

    /**
     * The next items, see `Batch`; `''` when there is none, `null` when there will be none again. What else
     * is known of them is {@link take_contexts}.
     */
    next_batch(max_items: number): string | null {
        const items = this.#items;
        const status = this.#library.next_flat(
            this.#handle,
            max_items,
            0,
            items,
            null,
            this.#contexts,
            null,
            null,
        );
        if (status === OK) {
            const text = items[0];
            items[0] = null; // the text of a large batch is not held until the next one
            return text;
        }
        if (status === TIMEOUT) return '';
        if (status === CANCELLED || status === INVALID_HANDLE) return null;
        throw last_error(status);
    }

    /** The contexts of the dispatches of the last batch, a JSON array; once. */
    take_contexts(): string {
        const text = this.#contexts[0] ?? '[]';
        this.#contexts[0] = null;
        return text;
    }

    /**
     * Ends dispatches by a JSON array of answers; `false` when the text was refused as a whole, and nothing
     * was answered.
     */
    answer_batch(answers: string): boolean {
        // A UTF-16 unit has at most three bytes in UTF-8.
        const most = answers.length * 3;
        let buffer: Buffer;
        let length: number;
        if (most <= REUSED_BYTES) {
            buffer = this.#answers ??= Buffer.allocUnsafeSlow(REUSED_BYTES);
            length = buffer.write(answers);
        } else {
            buffer = Buffer.from(answers);
            length = buffer.length;
        }
        const status = this.#library.answer_batch(this.#handle, buffer, length, null);
        // A handle that was freed meanwhile: whoever asked no longer wants the answers.
        return status === OK || status === INVALID_HANDLE || status === CANCELLED;
    }

    /** Begins to answer an HTTP request; the parts of the response come as items with this tag. */
    serve({ body, ...head }: HostedRequest, tag: number): void {
        const text = JSON.stringify(head);
        const bytes = body === undefined || body.length === 0 ? null : body;
        check(this.#library.serve_async(this.#handle, text, bytes, bytes?.length ?? 0, null, tag));
    }

    /**
     * A descriptor that is readable while items wait, and the caller's to close. When it is closed while the
     * handle is alive, the agent is freed in the background. One for each handle.
     */
    lifeline_fd(): number {
        const out: Out<number> = [-1];
        check(this.#library.lifeline_fd(this.#handle, out));
        return out[0];
    }

    /** Where the connector is; `closed` when it was freed, here or with the whole process. */
    state(): ConnectorState {
        const out: Out<number> = [0];
        const status = this.#library.get_state(this.#handle, out);
        if (status === INVALID_HANDLE) return 'closed';
        check(status);
        return STATES[out[0]] ?? 'failed';
    }

    /** Whether a registration is active. */
    connected(): boolean {
        const out: Out<boolean> = [false];
        check(this.#library.get_connected(this.#handle, out));
        return out[0];
    }

    /** The JWT in use, or `undefined` while there is none. */
    token(): string | undefined {
        const out: Out<string | null> = [null];
        const status = this.#library.get_token(this.#handle, out);
        if (status === INVALID_STATE) return undefined;
        check(status);
        return out[0] ?? undefined;
    }

    /** The string of `svantic_get_<name>`. */
    text(name: 'svantic_url' | 'deployment_mode' | 'instance_id' | 'agent_card' | 'snapshot'): string {
        return text_of(this.#library[`get_${name}`], this.#handle);
    }

    /** Frees the handle, once. Waits for the farewell unless the agent has ended or was never used. */
    free(): void {
        const handle = this.#handle;
        if (handle === FREED) return;
        this.#handle = FREED;
        this.#library.free(handle);
    }
}
