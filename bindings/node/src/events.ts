// What a connector tells: event names, their fields, and the iterator over them.
import type { ErrorFields } from './errors';
import type { ConnectorState } from './native_mesh';

/** Every event by its name, with the fields of its data. A newer library may tell more of them. */
export interface MeshEvents {
    /** The state has changed. */
    state: { readonly state: ConnectorState; readonly previous: ConnectorState; readonly link: string };
    /** A new token is in use; `expires_at` in Unix seconds. */
    token_refreshed: { readonly generation: number; readonly expires_at: number | null };
    /** The mesh has this list of capabilities. */
    registered: { readonly capabilities: number; readonly revision: number };
    /** The mesh no longer wants the answer. */
    dispatch_cancelled: {
        readonly dispatch_id: string;
        readonly reason: 'deadline' | 'shutdown' | 'failed' | (string & {});
    };
    /** A line for people. */
    log: { readonly level: string; readonly target: string; readonly message: string };
    /** The WebSocket is up. Strictly alternates with `disconnected`. */
    connected: { readonly connection: number; readonly resumed: boolean };
    /** The WebSocket is gone. */
    disconnected: { readonly connection: number; readonly code: number | null; readonly cause: string };
    /** The next attempt comes after this wait. */
    backoff: {
        readonly cause: string;
        readonly message: string;
        readonly delay_ms: number;
        readonly attempt: number;
    };
    /** The mesh refuses the credentials. */
    auth_failed: { readonly code: string; readonly message: string };
    /** The token that was supplied will expire: call `refresh_token(jwt)`. */
    token_expiring: { readonly seconds_left: number };
    /** The token that was supplied has expired. */
    token_expired: Readonly<Record<string, never>>;
    /** The mesh no longer knew the instance; it registers again. */
    instance_forgotten: Readonly<Record<string, never>>;
    /** Another process has taken this instance id. */
    superseded: Readonly<Record<string, never>>;
    /** Disconnecting waits for these dispatches. */
    draining: { readonly in_flight: number; readonly until_ms: number };
    /** An answer was given up without proof that it was delivered. */
    result_dropped: {
        readonly dispatch_id: string;
        readonly reason: 'expired' | 'closed' | 'failed' | 'poisoned' | 'too_large' | (string & {});
    };
    /** A dispatch was refused before it reached a handler. */
    dispatch_refused: { readonly dispatch_id: string; readonly code: string };
    /** So many events were dropped because they were not taken. */
    missed: { readonly count: number };
    /** The connector has given up; the error as an object. */
    failed: ErrorFields;
    /** The mesh answers no pings on this connection. */
    fence_unsupported: { readonly connection: number };
    /** One client secret was refused, so the other one is shown. */
    credential_fallback: { readonly used: string };
    /** A token is to be issued; `token_provider` is asked. */
    token_wanted: { readonly generation: number; readonly reason: 'missing' | 'expiring' | 'refused' };
    /** A session has ended that was not closed. */
    session_closed: { readonly session_id: string; readonly reason: string };
    /** Calls are not picked up in time (the process is too busy), or are again. */
    stalled: { readonly stalled: boolean; readonly oldest_ms?: number };
}

/** The name of an event. */
export type MeshEventName = keyof MeshEvents;

/** An event with its name, its number in the C interface, and its data. */
export type MeshEvent = {
    [Name in MeshEventName]: { readonly name: Name; readonly code: number; readonly data: MeshEvents[Name] };
}[MeshEventName];

/** The number of the event that says that others were dropped. */
const MISSED = 17;
const MOST_WAITING = 1024;

/**
 * The events of a connector from now on. Ends with the connector, with the loop that reads it, and with its
 * signal.
 *
 * At most 1024 wait for a reader; then the oldest are dropped, and an event `missed` says how many.
 */
export class EventStream implements AsyncIterableIterator<MeshEvent> {
    #waiting: MeshEvent[] = [];
    #readers: ((result: IteratorResult<MeshEvent, undefined>) => void)[] = [];
    #missed = 0;
    #ended = false;
    readonly #let_go: (stream: EventStream) => void;
    readonly #signal: AbortSignal | undefined;
    readonly #abort = () => this.end();

    /** `let_go` is called once, when it ends; `signal` ends it. */
    constructor(let_go: (stream: EventStream) => void, signal?: AbortSignal) {
        this.#let_go = let_go;
        this.#signal = signal;
        if (signal?.aborted) this.#ended = true;
        else signal?.addEventListener('abort', this.#abort, { once: true });
    }

    /** Adds an event. */
    push(event: MeshEvent): void {
        if (this.#ended) return;
        const reader = this.#readers.shift();
        if (reader !== undefined) {
            reader({ done: false, value: event });
            return;
        }
        if (this.#waiting.length >= MOST_WAITING) {
            this.#waiting.shift();
            this.#missed += 1;
        }
        this.#waiting.push(event);
    }

    /** Ends it behind what waits. */
    end(): void {
        if (this.#ended) return;
        this.#ended = true;
        const readers = this.#readers;
        this.#readers = [];
        for (const reader of readers) reader({ done: true, value: undefined });
        this.#signal?.removeEventListener('abort', this.#abort);
        this.#let_go(this);
    }

    /** The next event. */
    next(): Promise<IteratorResult<MeshEvent, undefined>> {
        if (this.#missed > 0) {
            const data = { count: this.#missed };
            this.#missed = 0;
            return Promise.resolve({ done: false, value: { name: 'missed', code: MISSED, data } });
        }
        const event = this.#waiting.shift();
        if (event !== undefined) return Promise.resolve({ done: false, value: event });
        if (this.#ended) return Promise.resolve({ done: true, value: undefined });
        return new Promise((resolve) => this.#readers.push(resolve));
    }

    /** Ends it at once, as a `break` out of the loop does. */
    return(): Promise<IteratorResult<MeshEvent, undefined>> {
        this.#waiting = [];
        this.#missed = 0;
        this.end();
        return Promise.resolve({ done: true, value: undefined });
    }

    [Symbol.asyncIterator](): this {
        return this;
    }
}
