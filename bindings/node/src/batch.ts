// What the library hands out in one call, and how far it has been routed.

/** What is known of a dispatch beside its id, its skill and its arguments, as the library says it. */
export interface DispatchContext {
    readonly deadline_ms: number;
    readonly session_id?: string;
    readonly tenant_id?: string;
    readonly traceparent?: string;
    readonly parent_trace_id?: string;
    readonly parent_span_id?: string;
    readonly baggage?: Readonly<Record<string, string>>;
    readonly propagation_headers?: Readonly<Record<string, string>>;
}

/** The contexts of a batch: a text until one of its handlers looks, since few ever do. */
export class Contexts {
    #text: string;
    #parsed: readonly DispatchContext[] | undefined;

    constructor(text: string) {
        this.#text = text;
    }

    /** That of the dispatch with this number in the batch. */
    of(number: number): DispatchContext {
        if (this.#parsed === undefined) {
            this.#parsed = JSON.parse(this.#text) as DispatchContext[];
            this.#text = '';
        }
        return this.#parsed[number] as DispatchContext;
    }
}

/**
 * Items in their order. A string begins a dispatch: its id, its skill and its arguments; everything else is
 * an object.
 */
export class Batch {
    readonly items: readonly unknown[];
    readonly contexts: Contexts;
    /** Where the next item is. */
    at = 0;
    /** How many dispatches have been routed. */
    dispatches = 0;

    constructor(items: string, contexts: string) {
        this.items = JSON.parse(items) as unknown[];
        this.contexts = new Contexts(contexts);
    }

    /** Whether everything in it has been routed. */
    get is_done(): boolean {
        return this.at >= this.items.length;
    }
}
