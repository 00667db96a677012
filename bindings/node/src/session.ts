// One native handle in use on this thread's loop: its pending operations, and where each item goes.
import { isMainThread } from 'node:worker_threads';
import { Batch } from './batch';
import { SvanticError, ended, from_fields, overtaken, type ErrorFields } from './errors';
import type { MeshEvent } from './events';
import type { HostedRequest, Respond, ResponsePart } from './hosted/exchange';
import { PendingResponses } from './hosted/pending_responses';
import type { NativeMesh } from './native_mesh';
import { checked_signal, milliseconds, refuse_mistakes, type OperationOptions } from './operation';
import type { Serving } from './serving';
import { Wakeup, type Sleeper } from './wakeup';

/**
 * The most items that one call takes: enough to spread the cost of a crossing, few enough to answer early.
 */
const MOST_ITEMS = 256;
/** How long handlers may run before the loop gets a turn. */
const SLICE_MS = 8;

/** What the owner of a session does with what it does not do itself. Nothing here may throw. */
export interface SessionHooks {
    /** An event came. */
    on_event(event: MeshEvent): void;
    /** Nothing more comes; the handle is freed right behind it. */
    on_end(): void;
    /** A transport's frame from the mesh, as it came. */
    on_frame?(frame: Record<string, unknown>): void;
    /** What a transport whose bytes the application carries is asked to do. */
    on_socket?(request: SocketRequest): void;
}

/** An item that asks for something to be done with a socket of the application. */
export type SocketRequest =
    | {
          readonly do: 'open';
          readonly socket: number;
          readonly url: string;
          readonly headers: Readonly<Record<string, string>>;
      }
    | { readonly do: 'send'; readonly socket: number; readonly text: string }
    | { readonly do: 'close'; readonly socket: number; readonly code: number; readonly reason: string };

type Item =
    | { readonly type: 'event'; readonly name: string; readonly event: number; readonly data: object }
    | { readonly type: 'done'; readonly tag: number; readonly result?: unknown; readonly error?: ErrorFields }
    | ({ readonly type: 'response'; readonly tag: number } & ResponsePart)
    | { readonly type: 'frame'; readonly frame: Record<string, unknown> }
    | ({ readonly type: 'socket' } & SocketRequest)
    | { readonly type: 'closed' };

interface Pending {
    resolve(result: unknown): void;
    reject(error: SvanticError): void;
}

/** What is to be let go of when the owner of a session is collected. */
export class Resources {
    wakeup: Wakeup | undefined;

    constructor(readonly native: NativeMesh) {}

    /** Lets go of everything. Never waits: the library says goodbye in the background. */
    release(): void {
        if (this.wakeup === undefined)
            this.native.free(); // never used, so there is no farewell
        else this.wakeup.close();
    }
}

/** Lets go of what the owner of a session held, when that is collected. */
export const forgotten = new FinalizationRegistry((resources: Resources) => resources.release());

/** Starts operations and routes items. The owner sets `hooks` right behind the construction. */
export class Session implements Sleeper {
    readonly native: NativeMesh;
    readonly resources: Resources;
    /** What runs dispatches; a transport has none. */
    readonly serving: Serving | undefined;
    hooks: SessionHooks = { on_event() {}, on_end() {} };
    /** What ended it, if it did not end in peace. */
    failure: SvanticError | undefined;
    #ended = false;
    #keep_alive = true;
    #stands: 'held' | 'alive' | undefined;
    #last_tag = 0;
    readonly #pending = new Map<number, Pending>();
    readonly #responses = new PendingResponses();
    #batch: Batch | undefined;
    /** Taken while that one was being routed. */
    readonly #later_batches: Batch[] = [];
    #take = MOST_ITEMS;
    #later = false;
    #woken = false;

    constructor(native: NativeMesh, serving?: Serving) {
        this.native = native;
        this.serving = serving;
        this.resources = new Resources(native);
        if (!isMainThread) this.open(); // a worker may end at any time, and nothing but its descriptors tells
    }

    /** Whether the last item has been taken; the handle is then freed. */
    get ended(): boolean {
        return this.#ended;
    }

    // Operations

    /** Starts an operation with a fresh tag. The promise settles with its outcome, always. */
    run<Result>(
        start: (native: NativeMesh, timeout_ms: number, tag: number) => void,
        options: OperationOptions | undefined,
    ): Promise<Result> {
        const begun: { stack?: string } = {};
        Error.captureStackTrace(begun, this.run);
        return new Promise<Result>((resolve, reject) => {
            refuse_mistakes(options);
            const timeout_ms = milliseconds(options?.timeout_ms);
            const signal = checked_signal(options?.signal);
            if (signal?.aborted) throw signal.reason;
            this.open();
            const tag = (this.#last_tag += 1);
            const abort = () => {
                this.#pending.delete(tag);
                if (!this.#ended) this.native.cancel(tag);
                reject(signal?.reason);
                this.#look_alive();
            };
            this.#pending.set(tag, {
                resolve: (result) => {
                    signal?.removeEventListener('abort', abort);
                    resolve(result as Result);
                },
                reject: (error) => {
                    signal?.removeEventListener('abort', abort);
                    // Where the operation was begun, not where its outcome came in.
                    const frames = begun.stack?.indexOf('\n') ?? -1;
                    if (frames >= 0)
                        error.stack = `${error.name}: ${error.message}${begun.stack?.slice(frames)}`;
                    reject(error);
                },
            });
            try {
                start(this.native, timeout_ms, tag);
            } catch (error) {
                this.#pending.delete(tag);
                this.#look_alive();
                throw error;
            }
            signal?.addEventListener('abort', abort, { once: true });
            this.#look_alive();
        });
    }

    /** Puts the session on the loop, once. Throws when it has ended: its operations would never settle. */
    open(): void {
        this.check_open();
        if (this.resources.wakeup === undefined) {
            this.resources.wakeup = new Wakeup(this.native.lifeline_fd(), this);
        }
    }

    /** Throws the error with the code `CLOSED` when it has ended or is at its end. */
    check_open(): void {
        if (this.#ended) throw ended(this.failure);
        const state = this.native.state();
        if (state === 'closed' || state === 'failed') throw ended(this.failure);
    }

    /**
     * Begins to answer an HTTP request; `respond` gets every part, and always a last one. Returns what says
     * that the client has gone, after which nothing comes. Throws when the connector cannot serve.
     */
    serve(request: HostedRequest, respond: Respond): () => void {
        this.open();
        const tag = (this.#last_tag += 1);
        this.#responses.add(tag, respond);
        try {
            this.native.serve(request, tag);
        } catch (error) {
            this.#responses.drop(tag);
            throw error;
        }
        this.#look_alive();
        return () => {
            if (!this.#responses.drop(tag)) return;
            if (!this.#ended) this.native.cancel(tag);
            this.#look_alive();
        };
    }

    /**
     * Takes items from now on although nothing was asked for: the agent is served without a mesh. `alive`:
     * keeps the process, too, as what listens by itself does.
     */
    stand(alive: boolean): void {
        this.open();
        this.#stands = alive ? 'alive' : 'held';
        this.#look_alive();
    }

    /** Whether it keeps the process alive while something is under way. */
    set keep_alive(keep_alive: boolean) {
        this.#keep_alive = keep_alive;
        this.#look_alive();
    }

    // Items

    /** Items wait. */
    wake(): void {
        if (this.#ended) return;
        this.#woken = true;
        if (!this.#later) this.#turn();
    }

    wake_no_more(): void {
        this.#end();
    }

    /** Takes and routes what there is, within this call; may be called while an item is routed. */
    drain(): void {
        while (!this.#ended && this.#pull()) this.#route(Infinity);
        this.serving?.flush();
    }

    /** What one turn of the loop does. */
    #turn(): void {
        if (this.#batch === undefined) {
            this.#woken = false; // the library wakes again while items are left
            if (!this.#pull()) return;
        }
        const routed = this.#route(SLICE_MS);
        this.serving?.flush();
        if (this.#batch === undefined) {
            this.#take = Math.min(MOST_ITEMS, this.#take * 2);
            if (!this.#woken) return;
        } else {
            // So that what is urgent, such as a cancellation, does not wait behind many slow handlers.
            this.#take = Math.max(1, routed);
        }
        this.#later = true;
        setImmediate(() => {
            this.#later = false;
            if (!this.#ended) this.#turn();
        });
    }

    /** Takes a batch; whether there was one. */
    #pull(): boolean {
        let text: string | null;
        try {
            text = this.native.next_batch(this.#take);
            if (text) {
                const batch = new Batch(text, this.native.take_contexts());
                if (this.#batch === undefined) this.#batch = batch;
                else this.#later_batches.push(batch);
                return true;
            }
        } catch (error) {
            this.#fail(error);
            return false;
        }
        // What was taken before is still routed; its last item is the end.
        if (text === null && this.#batch === undefined) this.#end();
        return false;
    }

    /**
     * Routes what was taken, in order, for at most `slice_ms`; returns how many. Whoever calls it while an
     * item is routed goes on where that stopped.
     */
    #route(slice_ms: number): number {
        const { serving } = this;
        const now = performance.now();
        const until = Date.now() + slice_ms;
        let routed = 0;
        let alive_may_change = false;
        for (let batch = this.#batch; batch !== undefined; batch = this.#batch) {
            const { items } = batch;
            while (batch.at < items.length) {
                const { at } = batch;
                const item = items[at];
                routed += 1;
                if (typeof item === 'string') {
                    batch.at = at + 3;
                    const number = batch.dispatches;
                    batch.dispatches = number + 1;
                    const args = items[at + 2] as Record<string, unknown>;
                    serving?.run(item, items[at + 1] as string, args, batch.contexts, number, now);
                    if (Date.now() > until) break;
                } else {
                    batch.at = at + 1;
                    alive_may_change = true;
                    this.#control(item as Item);
                }
            }
            if (!batch.is_done) break; // the time is over
            // What has been served is not held until something comes.
            if (this.#batch === batch) this.#batch = this.#later_batches.shift();
        }
        if (alive_may_change) this.#look_alive();
        return routed;
    }

    #control(item: Item): void {
        switch (item.type) {
            case 'done': {
                const pending = this.#pending.get(item.tag);
                this.#pending.delete(item.tag);
                if (item.error === undefined) pending?.resolve(item.result);
                else pending?.reject(from_fields(item.error));
                break;
            }
            case 'response':
                this.#responses.take(item.tag, item);
                break;
            case 'event': {
                const event = { name: item.name, code: item.event, data: item.data } as MeshEvent;
                if (event.name === 'dispatch_cancelled') {
                    this.serving?.cancel(event.data.dispatch_id, event.data.reason);
                } else if (event.name === 'failed') {
                    this.failure = from_fields(event.data);
                }
                this.hooks.on_event(event);
                break;
            }
            case 'frame':
                this.hooks.on_frame?.(item.frame);
                break;
            case 'socket':
                this.hooks.on_socket?.(item);
                break;
            case 'closed':
                this.#end();
                break;
        }
    }

    // The end

    #fail(error: unknown): void {
        this.failure =
            error instanceof SvanticError
                ? error
                : new SvanticError('the library hands out no more work', { cause: error });
        this.#end();
    }

    #end(): void {
        if (this.#ended) return;
        this.serving?.flush();
        this.#ended = true;
        try {
            this.hooks.on_end();
        } finally {
            this.serving?.end('the connector has ended');
            const pending = [...this.#pending.values()];
            this.#pending.clear();
            for (const { reject } of pending) reject(overtaken(this.failure));
            this.#responses.end();
            this.native.free(); // does not wait: what was to be said to the mesh has been said
            this.resources.wakeup?.close();
        }
    }

    /** Holds the session and the process while something is under way, and lets both go when nothing is. */
    #look_alive(): void {
        const { wakeup } = this.resources;
        if (wakeup === undefined || this.#ended) return;
        const active =
            this.#pending.size > 0 || this.#responses.any || this.native.state() !== 'idle';
        const held = active || this.#stands !== undefined;
        wakeup.hold(held ? this : undefined, this.#keep_alive && (active || this.#stands === 'alive'));
    }
}
