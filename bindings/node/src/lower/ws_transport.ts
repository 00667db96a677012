// The WebSocket alone, for programs that speak the protocol above it themselves.
import { EventEmitter } from 'node:events';
import { SvanticError } from '../errors';
import { line_of } from '../event_lines';
import type { MeshEvent, MeshEvents } from '../events';
import { call_guarded, call_listeners } from '../guarded';
import { Log } from '../logger';
import { NativeMesh, type ConnectorState } from '../native_mesh';
import type { OperationOptions } from '../operation';
import { Session, forgotten, type SocketRequest } from '../session';
import type { WsTransportState } from '../snapshot';
import { ForeignSocket, type SocketNews } from './foreign_socket';
import { transport_config, type SocketFactory, type WsTransportOptions } from './transport_options';

/** A frame of the mesh's protocol, either way. */
export interface WsFrame {
    /** The version of the envelope, 1. */
    readonly v: number;
    /** What it is: `welcome`, `dispatch`, `dispatch_result`, `heartbeat`, `error`, … */
    readonly type: string;
    /** Unique for its sender. */
    readonly id: string;
    /** When it was sent, ISO 8601. */
    readonly ts: string;
    /** The id of the frame that it answers. */
    readonly in_reply_to?: string;
    /** What it says. */
    readonly payload: Record<string, unknown>;
}

/**
 * What a {@link WsTransport} emits: the library's events by name, and `state` with the transport's own state.
 */
export type WsTransportEvents = { [Name in Exclude<keyof MeshEvents, 'state'>]: [data: MeshEvents[Name]] } & {
    state: [state: WsTransportState];
};

const STATES: Readonly<Record<ConnectorState, WsTransportState>> = {
    idle: 'disconnected',
    connecting: 'connecting',
    connected: 'ready',
    reconnecting: 'connecting',
    blocked: 'connecting',
    draining: 'closing',
    closed: 'closed',
    failed: 'closed',
};

const FORGOTTEN_BY_THE_MESH = ['warn', 'the mesh has lost the registration; register again'] as const;

/**
 * A WebSocket to the mesh, made again by itself when it is lost, with the hello, the token and the deadlines
 * of the protocol. What goes over it behind the welcome is yours; `MeshConnector` does that for you, and
 * loses no answer.
 *
 * Keeps the process alive from `connect()` until it is closed, or lost for good.
 */
export class WsTransport extends EventEmitter<WsTransportEvents> {
    readonly #session: Session;
    readonly #log: Log;
    readonly #token_provider: WsTransportOptions['token_provider'];
    readonly #socket_factory: SocketFactory | undefined;
    readonly #sockets = new Map<number, ForeignSocket>();
    /** Sockets that the factory is making, and that are still wanted. */
    readonly #making = new Set<number>();
    readonly #subscriptions = new Set<{ readonly callback: (frame: WsFrame) => void }>();
    #frames: WsFrame[] = [];
    #delivering = false;
    #welcome_awaited = false;
    #connecting: Promise<void> | undefined;
    #attempt: Attempt | undefined;
    #closing: Promise<void> | undefined;

    /**
     * Opens nothing. Throws for options that are missing or wrong: a `TypeError`, or a {@link SvanticError}.
     */
    constructor(options: WsTransportOptions) {
        super();
        const config = transport_config(options);
        this.#log = new Log(options.logger);
        this.#token_provider = options.token_provider;
        this.#socket_factory = options.socket_factory;
        this.#session = new Session(NativeMesh.create_transport(config));
        this.#session.hooks = {
            on_event: (event) => this.#on_event(event),
            on_end: () => this.#on_end(),
            on_frame: (frame) => this.#on_frame(frame as unknown as WsFrame),
            on_socket: (request) => this.#on_socket(request),
        };
        forgotten.register(this, this.#session.resources);
    }

    /** Where it is, at this moment. */
    get state(): WsTransportState {
        if (this.#session.ended) return 'closed';
        return this.#state_of(this.#session.native.state());
    }

    #state_of(connector: ConnectorState): WsTransportState {
        const state = STATES[connector];
        return state === 'connecting' && this.#welcome_awaited ? 'authenticating' : state;
    }

    /**
     * Connects, and resolves with the mesh's welcome. While it is under way another call waits for the same
     * end; when it is connected there is nothing to do.
     *
     * Failures that may pass are tried again within `timeout_ms` (default 30,000), unless `auto_reconnect` is
     * false. Then it may be called again, unless the mesh has refused the agent for good. Rejects with {@link
     * SvanticError}: `AUTH`, `NETWORK`, `TLS`, `TIMEOUT`, `REMOTE`, `PROTOCOL`; `INVALID_STATE` once it is
     * closed, and while a lost connection is being made again, which needs no call; `CANCELLED` by `close()`;
     * code `TOKEN_PROVIDER_FAILED` when `token_provider` has failed, with what it threw as `cause`; and with
     * the reason of the signal.
     */
    connect(options: OperationOptions = {}): Promise<void> {
        const { state } = this;
        // A listener may call this before the outcome of the last attempt, which is known, was told.
        if (this.#connecting !== undefined && state !== 'disconnected') return this.#connecting;
        if (state === 'ready') return Promise.resolve();
        if (state === 'closed') return Promise.reject(this.#closed());
        const connecting = this.#connect(options).finally(() => {
            if (this.#connecting === connecting) this.#connecting = undefined;
        });
        this.#connecting = connecting;
        this.#carry();
        return connecting;
    }

    async #connect({ timeout_ms, signal }: OperationOptions): Promise<void> {
        signal?.throwIfAborted();
        const give_up = new AbortController();
        const attempt: Attempt = { give_up, trouble: undefined };
        this.#attempt = attempt;
        const abort = () => give_up.abort(signal?.reason);
        signal?.addEventListener('abort', abort, { once: true });
        try {
            const start = (native: NativeMesh, ms: number, tag: number) => native.connect(ms, tag);
            await this.#session.run(start, { timeout_ms, signal: give_up.signal });
        } catch (error) {
            // What the caller's signal says is the caller's, and stays as it is.
            throw signal?.aborted ? error : with_cause(error, attempt.trouble);
        } finally {
            signal?.removeEventListener('abort', abort);
            if (this.#attempt === attempt) this.#attempt = undefined;
        }
    }

    /**
     * Sends one frame, as it is: within this call it is handed to the link (or to the socket of
     * `socket_factory`).
     *
     * Whether the mesh has read it only its answer can tell. Throws {@link SvanticError} with the status
     * `INVALID_STATE` while it is not `ready`, or when too much waits already (`BACKLOG_FULL`); `TypeError`
     * for what is no JSON object.
     */
    send(frame: object): void {
        if (typeof frame !== 'object' || frame === null) {
            throw new TypeError(`a frame must be an object, and this one is of type ${typeof frame}`);
        }
        const text: unknown = JSON.stringify(frame);
        if (typeof text !== 'string') throw new TypeError('the frame cannot be written as JSON');
        if (this.#session.ended) throw this.#closed();
        this.#session.native.send_frame(text);
        this.#carry();
    }

    /**
     * Calls `callback` with each frame from the mesh from now on, the welcome included, in their order. One
     * that throws is logged, and stops no other. What is returned ends it.
     */
    on_frame(callback: (frame: WsFrame) => void): () => void {
        if (typeof callback !== 'function') throw new TypeError('on_frame needs a function');
        const subscription = { callback };
        this.#subscriptions.add(subscription);
        return () => {
            this.#subscriptions.delete(subscription);
        };
    }

    /**
     * Closes the WebSocket with this code (1000, 1001, or 3000 to 4999) and reason (at most 123 bytes), for
     * good. A `connect()` under way rejects. Closing twice is no error. Rejects for a code or a reason that
     * cannot be.
     */
    close(code = 1000, reason = 'client_close'): Promise<void> {
        if (this.#session.ended) return Promise.resolve();
        if (this.#closing !== undefined) return this.#closing;
        const state = this.#session.native.state();
        if (state === 'closed' || state === 'failed') {
            this.#session.drain();
            return Promise.resolve();
        }
        const closed = this.#session.run<void>(
            (native, ms, tag) => native.close_transport(code, reason, ms, tag),
            undefined,
        );
        this.#closing = closed.then(() => this.#carry()).finally(() => (this.#closing = undefined));
        this.#carry();
        return this.#closing;
    }

    /** Closes it, also at the end of `await using`. */
    async [Symbol.asyncDispose](): Promise<void> {
        await this.close();
    }

    /** Lets the process end although this is connected. */
    unref(): this {
        this.#session.keep_alive = false;
        return this;
    }

    /** Keeps the process alive while this is connected, which is the default. */
    ref(): this {
        this.#session.keep_alive = true;
        return this;
    }

    #closed(): SvanticError {
        const { failure } = this.#session;
        return new SvanticError('the transport has been closed', {
            status: 'INVALID_STATE',
            code: 'CLOSED',
            hint: 'make a new WsTransport',
            ...(failure === undefined ? {} : { cause: failure }),
        });
    }

    // ---- what the library tells ----

    #on_event(event: MeshEvent): void {
        const line = event.name === 'instance_forgotten' ? FORGOTTEN_BY_THE_MESH : line_of(event);
        if (line !== undefined) this.#log.say(line[0], `transport: ${line[1]}`);
        if (event.name === 'state') {
            this.#welcome_awaited = event.data.link === 'handshaking';
            this.#call('state', this.#state_of(event.data.state));
            return;
        }
        if (event.name === 'token_wanted') this.#want_token();
        this.#call(event.name, event.data);
    }

    #call(name: keyof WsTransportEvents, data: unknown): void {
        call_listeners(this, name, data, (error) => {
            this.#say_failed(`a listener of the event ${name}`, error);
        });
    }

    #say_failed(what: string, error: unknown): void {
        this.#log.say('error', `transport: ${what} failed`, error);
    }

    #on_end(): void {
        const left = [...this.#sockets.values()];
        this.#sockets.clear();
        this.#making.clear();
        for (const socket of left) socket.close();
    }

    // ---- frames ----

    /**
     * Frames come in while callbacks send, so those that wait are delivered by the outermost call, in their
     * order.
     */
    #on_frame(frame: WsFrame): void {
        this.#frames.push(frame);
        if (this.#delivering) return;
        this.#delivering = true;
        for (let next = this.#frames.shift(); next !== undefined; next = this.#frames.shift())
            this.#deliver(next);
        this.#delivering = false;
    }

    #deliver(frame: WsFrame): void {
        for (const subscription of [...this.#subscriptions]) {
            if (!this.#subscriptions.has(subscription)) continue; // taken off by one before it
            const failed = (error: unknown) => this.#say_failed('a callback of on_frame', error);
            call_guarded(() => subscription.callback(frame), failed);
        }
    }

    // ---- tokens ----

    #want_token(): void {
        let given: string | PromiseLike<string>;
        try {
            given = this.#token_provider();
        } catch (error) {
            this.#no_token(error);
            return;
        }
        if (typeof given === 'string') this.#give_token(given);
        else
            Promise.resolve(given).then(
                (token) => this.#give_token(token),
                (error) => this.#no_token(error),
            );
    }

    #give_token(token: string): void {
        if (this.#session.ended) return;
        try {
            this.#session.native.give_token(token);
        } catch (error) {
            this.#no_token(error);
            return;
        }
        this.#carry();
    }

    /** A connect cannot go on without one; later the library asks again. */
    #no_token(cause: unknown): void {
        const { state } = this;
        if (state === 'closing' || state === 'closed') return; // nobody wants one any more
        const error = new SvanticError('token_provider has given no token', {
            status: 'AUTH',
            code: 'TOKEN_PROVIDER_FAILED',
            hint: 'the cause says why',
            cause,
        });
        if (this.#attempt !== undefined) this.#attempt.give_up.abort(error);
        else
            this.#log.say(
                'error',
                'transport: no token came from token_provider, which is asked again',
                cause,
            );
    }

    // ---- sockets that the application makes ----

    #on_socket(request: SocketRequest): void {
        const socket = this.#sockets.get(request.socket);
        switch (request.do) {
            case 'open':
                this.#open_socket(request.socket, request.url, request.headers);
                break;
            case 'send':
                socket?.send(request.text);
                break;
            case 'close':
                this.#making.delete(request.socket);
                this.#sockets.delete(request.socket);
                socket?.close(request.code, request.reason);
                break;
        }
    }

    #open_socket(id: number, url: string, headers: Readonly<Record<string, string>>): void {
        const factory = this.#socket_factory;
        if (factory === undefined) return; // the library asks for one only where there is a factory
        this.#making.add(id);
        try {
            const made = factory(url, { ...headers });
            const socket = new ForeignSocket(id, made, (news) => this.#tell(news));
            // The factory may have called close(), or ended the signal of the attempt.
            if (!this.#making.delete(id)) {
                socket.close();
                return;
            }
            this.#sockets.set(id, socket);
            socket.begin();
        } catch (error) {
            this.#making.delete(id);
            if (this.#attempt !== undefined) this.#attempt.trouble = error;
            this.#log.say('warn', 'transport: socket_factory has made no socket', error);
            this.#tell({ socket: id, event: 'error', message: 'socket_factory has made no socket' });
        }
    }

    #tell(news: SocketNews): void {
        if (news.event === 'close' || news.event === 'error') this.#sockets.delete(news.socket);
        if (this.#session.ended) return;
        this.#session.native.socket_event(news);
        this.#carry();
    }

    /** Does at once what a call has led to where the application carries the bytes. */
    #carry(): void {
        if (this.#socket_factory !== undefined && !this.#session.ended) this.#session.drain();
    }
}

/** A connect under way. */
interface Attempt {
    /** Ended by the caller's signal, or by us when there is no token to go on with. */
    readonly give_up: AbortController;
    /** What `socket_factory` has thrown. */
    trouble: unknown;
}

/** The same failure with what led to it. */
function with_cause(error: unknown, cause: unknown): unknown {
    if (error instanceof SvanticError && cause !== undefined) error.cause ??= cause;
    return error;
}
