// How a dispatch becomes a call of a handler and its answer. This is the hot path.
import { Answers, type AnswerSink } from './answers';
import type { Contexts } from './batch';
import type { Capability } from './capability';
import { CapabilitySessionContext, end_context, type Cancellations } from './context';
import { SvanticError } from './errors';
import type { Log } from './logger';

/** So many ids are kept of dispatches that were cancelled while nobody looked at their signal. */
const MOST_CANCELLED = 4096;

/** Runs the handlers of one connector on this thread's loop. */
export class Serving implements Cancellations {
    readonly #answers: Answers;
    readonly #capabilities = new Map<string, Capability>();
    /** Signals that a handler has asked for, of dispatches that run. */
    readonly #signals = new Map<string, AbortController>();
    /** Why dispatches were cancelled that run without a signal so far. */
    readonly #cancelled = new Map<string, string>();
    #ended: string | undefined;
    #flush_is_due = false;

    constructor(sink: AnswerSink, log: Log, redact: boolean) {
        this.#answers = new Answers(sink, log, redact);
    }

    /** Adds a capability; returns what takes it back. */
    add(capability: Capability): () => void {
        this.#capabilities.set(capability.name, capability);
        return () => this.#capabilities.delete(capability.name);
    }

    /**
     * Runs one dispatch, `number` of its batch; `now` is the time of `performance.now()` when it was received.
     * Never throws.
     */
    run(
        dispatch_id: string,
        skill_id: string,
        args: Record<string, unknown>,
        contexts: Contexts,
        number: number,
        now: number,
    ): void {
        if (this.#cancelled.size > 0 && this.#cancelled.delete(dispatch_id)) return;
        const context = new CapabilitySessionContext(dispatch_id, skill_id, contexts, number, now, this);
        try {
            const capability = this.#capabilities.get(skill_id);
            if (capability === undefined) throw new Error(`there is no capability ${skill_id}`);
            const result = capability.handler(args, context);
            if (is_thenable(result)) {
                this.#flush_later();
                // Also adopts what is no promise, and calls one of the two once.
                Promise.resolve(result).then(
                    (value) => {
                        this.#settled(context);
                        this.#answers.add(context, value);
                    },
                    (error: unknown) => {
                        this.#settled(context);
                        this.#answers.fail(context, error);
                    },
                );
            } else {
                this.#answers.add(context, result);
                this.#ends(context);
            }
        } catch (error) {
            this.#answers.fail(context, error);
            this.#ends(context);
        }
    }

    /** Hands over what was answered by handlers that return no promise; call it behind a batch. */
    flush(): void {
        // With a promise among them it happens when those that settle at once have settled.
        if (!this.#flush_is_due) this.#answers.flush();
    }

    /** The mesh no longer wants this answer. */
    cancel(dispatch_id: string, reason: string): void {
        const controller = this.#signals.get(dispatch_id);
        if (controller !== undefined) {
            controller.abort(cancelled(dispatch_id, reason));
            return;
        }
        // Most of them have ended long ago, or their handlers never look.
        if (this.#cancelled.size >= MOST_CANCELLED) this.#cancelled.clear();
        this.#cancelled.set(dispatch_id, reason);
    }

    /** Nothing can be answered any more. */
    end(reason: string): void {
        this.#ended = reason;
        for (const [dispatch_id, controller] of this.#signals)
            controller.abort(cancelled(dispatch_id, reason));
        this.#signals.clear();
        this.#cancelled.clear();
    }

    signal_of(dispatch_id: string, has_ended: boolean): AbortSignal {
        let controller = this.#signals.get(dispatch_id);
        if (controller === undefined) {
            controller = new AbortController();
            const reason = this.#ended ?? this.#cancelled.get(dispatch_id);
            if (reason !== undefined) controller.abort(cancelled(dispatch_id, reason));
            if (!has_ended && this.#ended === undefined) this.#signals.set(dispatch_id, controller);
        }
        return controller.signal;
    }

    #settled(context: CapabilitySessionContext): void {
        this.#ends(context);
        this.#flush_later();
    }

    #ends(context: CapabilitySessionContext): void {
        end_context(context);
        const { dispatch_id } = context;
        if (this.#signals.size > 0) this.#signals.delete(dispatch_id);
        if (this.#cancelled.size > 0) this.#cancelled.delete(dispatch_id);
    }

    /** Once the promises that settle in this turn have settled, so that their answers leave together. */
    #flush_later(): void {
        if (this.#flush_is_due) return;
        this.#flush_is_due = true;
        // A tick asked for by a microtask comes when no microtask is left.
        queueMicrotask(() => {
            process.nextTick(() => {
                this.#flush_is_due = false;
                this.#answers.flush();
            });
        });
    }
}

function is_thenable(value: unknown): value is PromiseLike<unknown> {
    return (
        value !== null &&
        (typeof value === 'object' || typeof value === 'function') &&
        typeof (value as { then?: unknown }).then === 'function'
    );
}

function cancelled(dispatch_id: string, reason: string): SvanticError {
    return new SvanticError(`the mesh no longer wants the answer of dispatch ${dispatch_id}: ${reason}`, {
        status: 'CANCELLED',
        code: 'DISPATCH_CANCELLED',
    });
}
