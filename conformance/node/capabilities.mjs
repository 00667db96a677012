// The capabilities of the driver: NAME:KIND:ARGUMENT.

import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';

import { CapabilityError } from './package.mjs';

const PARAMETERS = { type: 'object', properties: { n: { type: 'integer' } } };

/** The fields of a request that are only there if the mesh sent them. */
const OPTIONAL_FIELDS = [
    'session_id',
    'tenant_id',
    'traceparent',
    'parent_trace_id',
    'parent_span_id',
    'baggage',
    'propagation_headers',
];

/** Adds the capability that `specification` describes. */
export function define(agent, lines, specification) {
    const [name, kind, argument] = split(specification, 3);
    const behave = BEHAVIOURS[kind](argument);
    agent.define_capability({
        name,
        description: kind,
        parameters: PARAMETERS,
        handler: (args, context) => {
            lines.print_now(started(args, context));
            return behave(args, context);
        },
    });
}

/** What a handler does, by its kind. Some are plain functions and some asynchronous, as users have them. */
const BEHAVIOURS = {
    echo: () => (args) => args,
    sleep: (ms) => async () => {
        await sleep(Number(ms));
        return 'slept';
    },
    fail: (argument) => () => {
        const [code, message] = split(argument, 2);
        throw code === '' ? new Error(message) : new CapabilityError(message, { code });
    },
    block: () => async (_, { signal }) => {
        if (!signal.aborted) await once(signal, 'abort');
    },
    big: (bytes) => async () => 'x'.repeat(Number(bytes)),
    raw: (text) => () => {
        try {
            return JSON.parse(text);
        } catch {
            // A text that is no JSON cannot be returned by mistake. This can, and is no JSON either.
            return 1n;
        }
    },
};

/** The request, put together from all that a handler sees of it. */
function started(args, context) {
    const { dispatch_id, skill_id, deadline_ms } = context;
    const request = { dispatch_id, skill_id, args, deadline_ms };
    for (const field of OPTIONAL_FIELDS) {
        const value = context[field];
        // What came without one has an empty object there, so that handlers need not ask.
        if (typeof value === 'object' ? Object.keys(value ?? {}).length > 0 : value !== undefined) {
            request[field] = value;
        }
    }
    return { type: 'start', request };
}

/** At most so many parts between colons; the last one has the rest. */
function split(text, parts) {
    const all = text.split(':');
    return [...all.slice(0, parts - 1), all.slice(parts - 1).join(':')];
}
