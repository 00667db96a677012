// parse_traceparent, parse_baggage and extract_trace_context, with the real library.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import './support/environment.mjs';
import { extract_trace_context, parse_baggage, parse_traceparent } from 'svantic';

const TRACE = '4bf92f3577b34da6a3ce929d0e0e4736';
const SPAN = '00f067aa0ba902b7';
const GOOD = `00-${TRACE}-${SPAN}-01`;

test('a traceparent is its parts', () => {
    assert.deepEqual(parse_traceparent(GOOD), {
        version: '00',
        trace_id: TRACE,
        parent_span_id: SPAN,
        flags: '01',
        sampled: true,
    });
});

for (const [flags, sampled] of [
    ['00', false],
    ['01', true],
    ['02', false],
    ['03', true],
    ['ff', true],
]) {
    test(`a traceparent with the flags ${flags} is ${sampled ? '' : 'not '}sampled`, () => {
        const parsed = parse_traceparent(`00-${TRACE}-${SPAN}-${flags}`);
        assert.deepEqual([parsed.flags, parsed.sampled], [flags, sampled]);
    });
}

const malformed = {
    undefined: undefined,
    null: null,
    'a number': 7,
    'an object': {},
    'an array': [GOOD],
    'a symbol': Symbol('traceparent'),
    'an empty text': '',
    'a word': 'x',
    'another version': `01-${TRACE}-${SPAN}-01`,
    'upper case': `00-${TRACE.toUpperCase()}-${SPAN}-01`,
    'an all-zero trace': `00-${'0'.repeat(32)}-${SPAN}-01`,
    'an all-zero span': `00-${TRACE}-${'0'.repeat(16)}-01`,
    'no flags': `00-${TRACE}-${SPAN}`,
    'a part too many': `${GOOD}-more`,
    'a NUL': `${GOOD}\0more`,
    'a lone surrogate': `00-${TRACE}-${SPAN}-0\ud800`,
    'a letter that is no digit': `00-${TRACE.slice(0, -1)}é-${SPAN}-01`,
};
for (const [what, raw] of Object.entries(malformed)) {
    test(`a traceparent that is ${what} is null`, () => assert.equal(parse_traceparent(raw), null));
}

const baggage = [
    ['undefined', undefined, {}],
    ['null', null, {}],
    ['a number', 7, {}],
    ['an array', ['a=1'], {}],
    ['an empty text', '', {}],
    [
        'members, properties and what is broken',
        'user=alice%20b;p=1, tier = gold ,broken, =x,u=%C3%A9',
        { user: 'alice b', tier: 'gold', u: 'é' },
    ],
    ['a quoted value', 'quoted="x"', { quoted: '"x"' }],
    ['one key twice', 'a=1,a=2', { a: '2' }],
    ['an encoded NUL', 'nul=%00', { nul: '\0' }],
    ['a NUL', 'a=1\0,b=2', {}],
];
for (const [what, raw, members] of baggage) {
    test(`baggage of ${what} is an object`, () => assert.deepEqual(parse_baggage(raw), members));
}

test('baggage cannot reach a prototype', () => {
    const members = parse_baggage('__proto__=x,constructor=y');
    assert.deepEqual(Object.keys(members).sort(), ['__proto__', 'constructor']);
    assert.equal({}.x, undefined);
});

test('a context without trace has objects and nothing else', () => {
    assert.deepEqual(extract_trace_context({}), { baggage: {}, propagation_headers: {} });
});

test('a context comes from the payload, with headers to pass on', () => {
    const context = extract_trace_context({ skill_id: 's', traceparent: GOOD, baggage: 'tier=gold' });
    assert.deepEqual(context, {
        traceparent: GOOD,
        parent_trace_id: TRACE,
        parent_span_id: SPAN,
        baggage: { tier: 'gold' },
        propagation_headers: { traceparent: GOOD, baggage: 'tier=gold' },
    });
});

test('a context comes from the session context when the payload has none', () => {
    const context = extract_trace_context({ session_context: { traceparent: GOOD } });
    assert.deepEqual([context.parent_trace_id, context.parent_span_id], [TRACE, SPAN]);
});

const header_forms = {
    'an object in any case': { TraceParent: GOOD, Baggage: 'a=1' },
    'what Node hands a server': {
        traceparent: GOOD,
        baggage: 'a=1',
        'set-cookie': ['x', 'y'],
        host: undefined,
    },
    Headers: new Headers({ traceparent: GOOD, baggage: 'a=1' }),
    'a Map': new Map([
        ['traceparent', GOOD],
        ['baggage', 'a=1'],
    ]),
};
for (const [what, headers] of Object.entries(header_forms)) {
    test(`a context comes from HTTP headers given as ${what}`, () => {
        const context = extract_trace_context({}, headers);
        assert.deepEqual([context.parent_span_id, context.baggage], [SPAN, { a: '1' }]);
    });
}

test('the payload wins over the headers', () => {
    const other = `00-${TRACE}-${'1'.repeat(16)}-00`;
    assert.equal(extract_trace_context({ traceparent: GOOD }, { traceparent: other }).parent_span_id, SPAN);
});

const odd = {
    nothing: [undefined, undefined],
    null: [null, null],
    'a text': ['x', 'y'],
    'an array': [[1], [2]],
    'a function': [() => {}, () => {}],
    'a malformed traceparent': [
        { traceparent: `${GOOD}-more`, baggage: 7, session_context: 'x' },
        { baggage: {} },
    ],
    'a NUL': [{ traceparent: `${GOOD}\0` }, { traceparent: `${GOOD}\0` }],
};
for (const [what, [payload, headers]] of Object.entries(odd)) {
    test(`a context of ${what} is empty and not an error`, () => {
        const context = extract_trace_context(payload, headers);
        assert.deepEqual([context.traceparent, context.baggage], [undefined, {}]);
    });
}

test('what is no JSON beside it does not hide the trace', () => {
    const args = { big: 1n };
    args.self = args;
    const payload = {
        args,
        get broken() {
            throw new Error('a getter');
        },
        traceparent: GOOD,
    };
    assert.equal(extract_trace_context(payload).parent_span_id, SPAN);
});

test('half a character beside it does not hide the trace', () => {
    const args = { 'name \ud800': 'a \ud800\ud800', path: 'c:\\ud800' };
    assert.equal(extract_trace_context({ args, traceparent: GOOD }).parent_span_id, SPAN);
    assert.equal(extract_trace_context({ args, big: 1n, traceparent: GOOD }).parent_span_id, SPAN);
    const headers = { traceparent: GOOD, 'x-name': '\ud800' };
    assert.equal(extract_trace_context({}, headers).parent_span_id, SPAN);
});
