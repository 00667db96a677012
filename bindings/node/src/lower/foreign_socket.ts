// A socket that the application made, seen by the native machine: its bytes and events, and no decisions.

/**
 * A WebSocket as the platform's `socket_factory` hands it out: the surface of `ws`, or of an `EventEmitter`
 * that plays one in a test.
 */
export interface WebSocketLike {
    /** 0 connecting, 1 open, 2 closing, 3 closed. */
    readonly readyState: number;
    /** Sends one text message. */
    send(data: string): void;
    /** Begins the close handshake, or ends the attempt to open. */
    close(code?: number, reason?: string): void;
    /** The socket is open. */
    on(event: 'open', listener: () => void): unknown;
    /** A message: a string, `Buffer`, `ArrayBuffer`, `Buffer[]`, or `{data}` with one of them. */
    on(event: 'message', listener: (data: unknown) => void): unknown;
    /** The socket is closed. */
    on(event: 'close', listener: (code?: number, reason?: unknown) => void): unknown;
    /** The socket has failed. */
    on(event: 'error', listener: (error: Error) => void): unknown;
}

/** A WebSocket with the surface of browsers: `globalThis.WebSocket` of Node 22, Bun and Deno. */
export interface EventTargetSocketLike {
    /** 0 connecting, 1 open, 2 closing, 3 closed. */
    readonly readyState: number;
    /** Sends one text message. */
    send(data: string): void;
    /**
     * Begins the close handshake; codes other than 1000 and 3000 to 4999 may be refused with an exception.
     */
    close(code?: number, reason?: string): void;
    /** The events are those of {@link WebSocketLike}, each as one object. */
    addEventListener(type: 'open' | 'message' | 'close' | 'error', listener: (event: unknown) => void): void;
}

/** What a socket of the application's has to tell the machine: the argument of `svantic_socket_event()`. */
export type SocketNews =
    | { socket: number; event: 'open' }
    | { socket: number; event: 'message'; text: string }
    | { socket: number; event: 'close'; code?: number; reason: string }
    | { socket: number; event: 'error'; message: string; http_status?: number };

const OPEN = 1;
const CLOSED = 3;

/**
 * Carries the bytes of one socket. Whatever the socket's own style and however early, late or often it
 * speaks, the machine hears of one opening at most, and of nothing behind one end.
 */
export class ForeignSocket {
    readonly #id: number;
    readonly #socket: WebSocketLike | EventTargetSocketLike;
    readonly #tell: (news: SocketNews) => void;
    #opened = false;
    #ended = false;

    /** Listens to `socket`, and tells of it under the number `id`. */
    constructor(id: number, socket: WebSocketLike | EventTargetSocketLike, tell: (news: SocketNews) => void) {
        this.#id = id;
        this.#socket = socket;
        this.#tell = tell;
        // A listener on 'error' stays for ever: an EventEmitter without one would throw at the application.
        this.#listen('open', () => this.#open());
        this.#listen('message', (data) => this.#message(data));
        this.#listen('close', (code, reason) => this.#close(code, reason));
        this.#listen('error', (error) => this.#fail(message_of(error)));
    }

    /** Tells of what the socket was before anybody listened: a factory may hand out an open one. */
    begin(): void {
        if (this.#socket.readyState === OPEN) this.#open();
        else if (this.#socket.readyState === CLOSED) this.#end(undefined, '');
    }

    /** Sends one message; a socket that cannot is at its end. */
    send(text: string): void {
        if (this.#ended) return;
        try {
            this.#socket.send(text);
        } catch (error) {
            this.#fail(message_of(error));
        }
    }

    /**
     * Closes the socket as the machine asks for it. The machine hears of the end when the socket tells it.
     */
    close(code?: number, reason?: string): void {
        if (this.#ended) return;
        try {
            this.#socket.close(code, reason);
        } catch {
            this.#close_anyhow();
        }
    }

    /** An error is the end: not every socket says 'close' behind it. */
    #fail(message: string): void {
        if (this.#ended) return;
        this.#ended = true;
        this.#close_anyhow();
        // How `ws` words the refusal of an upgrade; the machine asks for another token when it is a 401.
        const status = /^Unexpected server response: (\d{3})$/.exec(message)?.[1];
        const refused = status === undefined ? {} : { http_status: Number(status) };
        this.#tell({ socket: this.#id, event: 'error', message, ...refused });
    }

    #listen(event: 'open' | 'message' | 'close' | 'error', listener: (...given: unknown[]) => void): void {
        const socket = this.#socket;
        if ('on' in socket && typeof socket.on === 'function') {
            (socket.on as (event: string, listener: (...given: unknown[]) => void) => unknown)(
                event,
                listener,
            );
        } else if ('addEventListener' in socket && typeof socket.addEventListener === 'function') {
            socket.addEventListener(event, listener);
        } else {
            // That of an async function, whose rejection would end the process.
            if (socket instanceof Promise) socket.catch(() => {});
            throw new TypeError(
                'socket_factory must return a WebSocket: it has neither on() nor addEventListener()',
            );
        }
    }

    #open(): void {
        if (this.#opened || this.#ended) return;
        this.#opened = true;
        this.#tell({ socket: this.#id, event: 'open' });
    }

    #message(data: unknown): void {
        if (this.#ended) return;
        // Whoever sends has opened; a test double may have forgotten to say so.
        this.#open();
        this.#tell({ socket: this.#id, event: 'message', text: text_of(data) });
    }

    #close(given: unknown, reason: unknown): void {
        if (typeof given === 'object' && given !== null && 'code' in given) {
            const event = given as { code: unknown; reason?: unknown };
            this.#close(event.code, event.reason);
        } else {
            this.#end(given, reason === undefined || reason === null ? '' : text_of(reason));
        }
    }

    #end(code: unknown, reason: string): void {
        if (this.#ended) return;
        this.#ended = true;
        const known = Number.isInteger(code) && (code as number) >= 0 && (code as number) <= 0xffff;
        this.#tell({ socket: this.#id, event: 'close', ...(known ? { code: code as number } : {}), reason });
    }

    #close_anyhow(): void {
        try {
            this.#socket.close();
        } catch {
            // It is at its end either way.
        }
    }
}

/** The text of a message in whichever form the socket has it. */
function text_of(data: unknown): string {
    if (typeof data === 'string') return data.toWellFormed(); // half a character cannot be told to C
    if (ArrayBuffer.isView(data))
        return Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString();
    if (data instanceof ArrayBuffer) return Buffer.from(data).toString();
    if (Array.isArray(data) && data.every((part) => ArrayBuffer.isView(part))) {
        return Buffer.concat(
            data.map((part: ArrayBufferView) => Buffer.from(part.buffer, part.byteOffset, part.byteLength)),
        ).toString();
    }
    if (typeof data === 'object' && data !== null && 'data' in data) return text_of(data.data);
    return String(data).toWellFormed();
}

function message_of(error: unknown): string {
    if (typeof error === 'object' && error !== null && 'message' in error && error.message) {
        return String(error.message).toWellFormed();
    }
    if (typeof error === 'object' && error !== null && 'error' in error && error.error) {
        return message_of(error.error);
    }
    return typeof error === 'string' && error ? error.toWellFormed() : 'the socket failed';
}
