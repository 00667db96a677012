// The W3C trace context that the mesh sends along with a dispatch. A handler finds it in its context; this is
// for programs that read the headers themselves.
import { STATUS } from './errors';
import { library, type Out, type Property } from './library';
import { text_of } from './native_mesh';
import { without_lone_surrogates } from './surrogates';

/** The parts of a `traceparent`. */
export interface ParsedTraceparent {
    /** The only version that there is. */
    readonly version: '00';
    /** 32 lower-case hex digits. */
    readonly trace_id: string;
    /** 16 lower-case hex digits: the caller's span, which is the parent of yours. */
    readonly parent_span_id: string;
    /** Two lower-case hex digits. */
    readonly flags: string;
    /** Whether the caller records the trace: the lowest bit of the flags. */
    readonly sampled: boolean;
}

/** The trace context of a dispatch. */
export interface ExtractedTraceContext {
    /** The `traceparent` as it came, if it is well-formed. */
    readonly traceparent?: string;
    /** Its trace id. */
    readonly parent_trace_id?: string;
    /** Its span, which is the parent of yours. */
    readonly parent_span_id?: string;
    /** Keys and decoded values; empty when there are none. */
    readonly baggage: Record<string, string>;
    /** The headers to pass on with calls that the handler makes; empty when there are none. */
    readonly propagation_headers: Record<string, string>;
}

/** HTTP headers: a `Headers`, a `Map`, or an object like Node's `request.headers`; names in any case. */
export type TraceHeaders =
    Iterable<readonly [string, string]> | Readonly<Record<string, string | readonly string[] | undefined>>;

/**
 * Parses a W3C `traceparent` of version 00. What is malformed, all zero or no string at all is `null`; never
 * throws for what it is given.
 */
export function parse_traceparent(raw: unknown): ParsedTraceparent | null {
    if (!is_c_text(raw)) return null;
    const fields = parsed<{ trace_id: string; span_id: string; flags: string } | null>(
        'parse_traceparent',
        raw,
    );
    if (!fields) return null;
    const { trace_id, span_id, flags } = fields;
    const sampled = (Number.parseInt(flags, 16) & 1) === 1;
    return { version: '00', trace_id, parent_span_id: span_id, flags, sampled };
}

/**
 * Parses W3C `baggage` into keys and decoded values, without properties. A member that is malformed is left
 * out; of two with one key the last counts; what is no string is empty. Never throws for what it is given.
 */
export function parse_baggage(raw: unknown): Record<string, string> {
    return is_c_text(raw) ? parsed<Record<string, string>>('parse_baggage', raw) : {};
}

/**
 * The trace context of a dispatch that your own server received: looked for in `payload` (the data part),
 * then in its `session_context`, then in the HTTP `headers`. What is malformed is absent; never throws for
 * what it is given.
 */
export function extract_trace_context(
    payload: unknown,
    headers?: TraceHeaders | null,
): ExtractedTraceContext {
    const out: Out<string | null> = [null];
    const status = library().extract_trace_context(
        json_of(payload) ?? '{}',
        headers ? (json_of(plain_headers(headers)) ?? null) : null,
        out,
    );
    if (status !== STATUS.OK || !out[0]) return { baggage: {}, propagation_headers: {} };
    return JSON.parse(out[0]) as ExtractedTraceContext;
}

/** Where a NUL stands C would see another text than the caller. */
function is_c_text(raw: unknown): raw is string {
    return typeof raw === 'string' && !raw.includes('\0');
}

function parsed<Result>(name: 'parse_traceparent' | 'parse_baggage', raw: string): Result {
    const parse: Property<string> = library()[name];
    return JSON.parse(text_of(parse, raw.toWellFormed())) as Result;
}

/** An object as JSON, without those of its members that cannot be written. */
function json_of(value: unknown): string | undefined {
    if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
    try {
        return written(value);
    } catch {
        const members = Object.keys(value).flatMap((name) => {
            try {
                const text = written((value as Record<string, unknown>)[name]);
                return text === undefined ? [] : [`${written(name)}:${text}`];
            } catch {
                return []; // a cycle, a BigInt, a getter that throws: none of the trace
            }
        });
        return `{${members.join()}}`;
    }
}

/** JSON in which each half of a character is replaced: one would hide all the rest from the library. */
function written(value: unknown): string | undefined {
    const text = JSON.stringify(value) as string | undefined;
    return text === undefined ? undefined : without_lone_surrogates(text);
}

function plain_headers(headers: TraceHeaders): Record<string, string> | undefined {
    if (typeof headers !== 'object') return undefined;
    try {
        const entries: Iterable<readonly unknown[]> =
            Symbol.iterator in headers
                ? (headers as Iterable<readonly [string, string]>)
                : Object.entries(headers);
        const plain: [string, string][] = [];
        for (const [name, value] of entries) {
            const text: unknown = Array.isArray(value) ? value.join(',') : value;
            if (typeof name === 'string' && typeof text === 'string') plain.push([name, text]);
        }
        return Object.fromEntries(plain);
    } catch {
        return undefined; // an iterable of something else than headers
    }
}
