// What a handler is told beside its arguments.
import type { Contexts } from './batch';

/** What knows which dispatches have ended. */
export interface Cancellations {
    /** The signal of a dispatch that runs, or one that is aborted already; of one that has ended any. */
    signal_of(dispatch_id: string, has_ended: boolean): AbortSignal;
}

const NOTHING: Readonly<Record<string, string>> = Object.freeze({});

/** Tells a context that its handler has settled: nobody aborts a signal that is first asked for now. */
export let end_context: (context: CapabilitySessionContext) => void;

/** The call that a handler serves: who asks, within which trace, and how long the mesh waits. */
export class CapabilitySessionContext {
    readonly #dispatch_id: string;
    readonly #skill_id: string;
    readonly #contexts: Contexts;
    readonly #number: number;
    readonly #received_at: number;
    readonly #cancellations: Cancellations;
    #signal: AbortSignal | undefined;
    #has_ended = false;

    static {
        end_context = (context) => {
            context.#has_ended = true;
        };
    }

    /**
     * Made for each dispatch, `number` among those of its batch; `received_at` is a time of
     * `performance.now()`.
     */
    constructor(
        dispatch_id: string,
        skill_id: string,
        contexts: Contexts,
        number: number,
        received_at: number,
        cancellations: Cancellations,
    ) {
        this.#dispatch_id = dispatch_id;
        this.#skill_id = skill_id;
        this.#contexts = contexts;
        this.#number = number;
        this.#received_at = received_at;
        this.#cancellations = cancellations;
    }

    /** The dispatch's id, unique in the mesh. */
    get dispatch_id(): string {
        return this.#dispatch_id;
    }

    /** The name of the capability that was called. */
    get skill_id(): string {
        return this.#skill_id;
    }

    /** The same as {@link skill_id}. */
    get capability(): string {
        return this.#skill_id;
    }

    /** The session that the dispatch belongs to. */
    get session_id(): string | undefined {
        return this.#contexts.of(this.#number).session_id;
    }

    /** The tenant on whose behalf it was sent. */
    get tenant_id(): string | undefined {
        return this.#contexts.of(this.#number).tenant_id;
    }

    /** The W3C trace context as the mesh sent it; `undefined` where it is malformed. */
    get traceparent(): string | undefined {
        return this.#contexts.of(this.#number).traceparent;
    }

    /** The trace id in {@link traceparent}. */
    get parent_trace_id(): string | undefined {
        return this.#contexts.of(this.#number).parent_trace_id;
    }

    /** The span id in {@link traceparent}. */
    get parent_span_id(): string | undefined {
        return this.#contexts.of(this.#number).parent_span_id;
    }

    /** The members of the W3C baggage. */
    get baggage(): Readonly<Record<string, string>> {
        return this.#contexts.of(this.#number).baggage ?? NOTHING;
    }

    /** The HTTP headers to send along with calls that belong to this dispatch. */
    get propagation_headers(): Readonly<Record<string, string>> {
        return this.#contexts.of(this.#number).propagation_headers ?? NOTHING;
    }

    /** How long the mesh waits for the answer, in milliseconds from the receipt. */
    get deadline_ms(): number {
        return this.#contexts.of(this.#number).deadline_ms;
    }

    /** How long the mesh still waits, in milliseconds; 0 when it no longer does. */
    get time_left_ms(): number {
        return Math.max(0, this.#received_at + this.deadline_ms - performance.now());
    }

    /**
     * Aborted when the mesh no longer wants the answer: its deadline has passed, or the agent shuts down. Its
     * reason is a `SvanticError`. Pass it on to `fetch()` and its like. What a listener of its own throws
     * becomes an `uncaughtException`, as with every `EventTarget` of Node.
     */
    get signal(): AbortSignal {
        return (this.#signal ??= this.#cancellations.signal_of(this.#dispatch_id, this.#has_ended));
    }
}
