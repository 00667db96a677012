// verify_dispatch_auth with the real library. The tokens are made here, with node:crypto.
import assert from 'node:assert/strict';
import { createHmac } from 'node:crypto';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Worker } from 'node:worker_threads';
import './support/environment.mjs';
import {
    DispatchAuthVerifyError,
    MESH_DISPATCH_JWT_ISSUER,
    SvanticError,
    verify_dispatch_auth,
} from 'svantic';

const SECRET = 'hush: schlüssel';
const now = () => Math.floor(Date.now() / 1000);
let number = 0;

function claims(changes = {}) {
    const dispatch_id = `d${process.pid}-${(number += 1)}`;
    const good = {
        iss: 'svantic-mesh',
        aud: 'agent:i1',
        tenant_id: 't1',
        agent_type: 'desk',
        instance_id: 'i1',
        dispatch_id,
        exp: now() + 300,
    };
    return { ...good, ...changes };
}

const part = (value) =>
    Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

function signed(payload, { header = { alg: 'HS256', typ: 'JWT' }, secret = SECRET } = {}) {
    const parts = `${part(header)}.${part(payload)}`;
    return `${parts}.${createHmac('sha256', secret).update(parts).digest('base64url')}`;
}

const data = (token, scheme = 'svantic_jwt') => ({
    skill_id: 'find_order',
    args: {},
    svantic_auth: { scheme, token },
});

const verify = (dispatch, more = {}) =>
    verify_dispatch_auth(dispatch, {
        instance_id: 'i1',
        signing_secret: SECRET,
        shared_secret: 'hush-shared',
        ...more,
    });

function refusal(dispatch, more) {
    try {
        verify(dispatch, more);
    } catch (error) {
        return error;
    }
    return assert.fail('it was accepted');
}

test('a good token says whose dispatch it is, at once', () => {
    const good = claims();
    assert.deepEqual(verify(data(signed(good)), { agent_type: 'desk', tenant_id: 't1' }), {
        scheme: 'svantic_jwt',
        instance_id: 'i1',
        tenant_id: 't1',
        agent_type: 'desk',
        dispatch_id: good.dispatch_id,
        expires_at: good.exp,
    });
});

test('the context holds no secret', () => {
    assert.doesNotMatch(inspect(verify(data(signed(claims())))), /hush|eyJ/);
});

const forms = {
    'an object': (dispatch) => dispatch,
    'a text': (dispatch) => JSON.stringify(dispatch),
    bytes: (dispatch) => Buffer.from(JSON.stringify(dispatch)),
    'a part of other bytes': (dispatch) =>
        new Uint8Array(Buffer.from(`xx${JSON.stringify(dispatch)}`)).subarray(2),
};
for (const [what, form] of Object.entries(forms)) {
    test(`the data part may be ${what}`, () => {
        const dispatch = { ...data(signed(claims())), args: { ä: [1.5, null] } };
        assert.equal(verify(form(dispatch)).scheme, 'svantic_jwt');
    });
}

test('a shared secret says nothing and stops no replay', () => {
    const dispatch = { ...data('hush-shared', 'shared_secret'), dispatch_id: 'd' };
    const expected = {
        scheme: 'shared_secret',
        instance_id: 'i1',
        tenant_id: null,
        agent_type: null,
        dispatch_id: 'd',
        expires_at: null,
    };
    assert.deepEqual([verify(dispatch), verify(dispatch)], [expected, expected]);
});

const cycle = {};
cycle.self = cycle;
const good_text = JSON.stringify(data('hush-shared', 'shared_secret'));
const refused = [
    ['missing_envelope', 'no envelope', {}],
    ['missing_envelope', 'an envelope of null', { svantic_auth: null }],
    ['missing_envelope', 'no data part', undefined],
    ['missing_envelope', 'a data part of null', null],
    ['malformed_envelope', 'a text that is no JSON', 'no JSON'],
    ['malformed_envelope', 'bytes that are not UTF-8', Buffer.from([0xff])],
    ['malformed_envelope', 'a text with a lone surrogate', '{"x":"\ud800"}'],
    ['malformed_envelope', 'a text with a NUL behind', `${good_text}\0`],
    ['malformed_envelope', 'bytes with a NUL behind', Buffer.from(`${good_text}\0{`)],
    ['malformed_envelope', 'a byte order mark', Buffer.from(`\ufeff${good_text}`)],
    [
        'malformed_envelope',
        'a name that stands twice',
        '{"svantic_auth":{"scheme":"svantic_jwt","scheme":"shared_secret","token":"hush-shared"}}',
    ],
    [
        'malformed_envelope',
        'an object with a cycle',
        { ...data('hush-shared', 'shared_secret'), args: cycle },
    ],
    ['malformed_envelope', 'an object with a BigInt', { ...data('hush-shared', 'shared_secret'), args: 1n }],
    ['malformed_envelope', 'an array as envelope', { svantic_auth: [1] }],
    ['malformed_envelope', 'a number', 7],
    ['malformed_envelope', 'a function', () => data('hush-shared', 'shared_secret')],
    ['malformed_envelope', 'a token of null', data(null)],
    ['malformed_envelope', 'a token with a lone surrogate', data('\ud800')],
    ['malformed_envelope', 'a token that is none', data('hush')],
    ['malformed_envelope', 'a token with padding', () => data(`${signed(claims())}=`)],
    ['malformed_envelope', 'a token of four parts', () => data(`${signed(claims())}.`)],
    ['malformed_envelope', 'an end that is no integer', () => data(signed(claims({ exp: 1e9 + 0.5 })))],
    ['malformed_envelope', 'no end', () => data(signed(claims({ exp: undefined })))],
    ['malformed_envelope', 'no dispatch id', () => data(signed(claims({ dispatch_id: undefined })))],
    [
        'malformed_envelope',
        'a claim that stands twice',
        () => data(signed(`${JSON.stringify(claims()).slice(0, -1)},"aud":"agent:i1"}`)),
    ],
    ['unsupported_scheme', 'another scheme', data('hush', 'none')],
    ['bad_signature', 'alg none', () => data(signed(claims(), { header: { alg: 'none' } }))],
    ['bad_signature', 'alg RS256', () => data(signed(claims(), { header: { alg: 'RS256' } }))],
    ['bad_signature', 'alg in lower case', () => data(signed(claims(), { header: { alg: 'hs256' } }))],
    ['bad_signature', 'another secret', () => data(signed(claims(), { secret: 'hush' }))],
    ['expired', 'an end in the past', () => data(signed(claims({ exp: now() - 60 })))],
    ['expired', 'an end too far ahead', () => data(signed(claims({ exp: now() + 3600 })))],
    ['wrong_issuer', 'another issuer', () => data(signed(claims({ iss: 'svаntic-mesh' })))], // the а is Cyrillic
    ['wrong_audience', 'another instance as audience', () => data(signed(claims({ aud: 'agent:i2' })))],
    ['wrong_audience', 'two audiences', () => data(signed(claims({ aud: ['agent:i1', 'agent:i2'] })))],
    ['wrong_audience', 'another instance', () => data(signed(claims({ instance_id: 'i2' })))],
    [
        'wrong_audience',
        'the token of another dispatch',
        () => ({ ...data(signed(claims({ dispatch_id: 'mine' }))), dispatch_id: 'other' }),
    ],
    ['secret_mismatch', 'a part of the secret', data('hush-share', 'shared_secret')],
    ['secret_mismatch', 'an empty secret', data('', 'shared_secret')],
    [
        'replayed',
        'a token that was accepted',
        () => {
            const dispatch = data(signed(claims()));
            verify(dispatch);
            return dispatch;
        },
    ],
];
for (const [code, what, given] of refused) {
    test(`${what} is refused as ${code}, and is not quoted`, () => {
        const error = refusal(typeof given === 'function' && what !== 'a function' ? given() : given);
        assert.equal(error.code, code);
        assert.ok(error instanceof DispatchAuthVerifyError && error instanceof SvanticError);
        assert.deepEqual(
            [error.name, error.status, error.status_code, error.retryable],
            ['DispatchAuthVerifyError', 'AUTH', 24, false],
        );
        assert.doesNotMatch(inspect(error), /hush|eyJ/);
    });
}

test('the table above has every code of the protocol', () => {
    assert.deepEqual([...new Set(refused.map(([code]) => code))].sort(), [
        'bad_signature',
        'expired',
        'malformed_envelope',
        'missing_envelope',
        'replayed',
        'secret_mismatch',
        'unsupported_scheme',
        'wrong_audience',
        'wrong_issuer',
    ]);
});

test('names that are given are compared', () => {
    assert.equal(refusal(data(signed(claims())), { tenant_id: 't2' }).code, 'wrong_audience');
    assert.equal(refusal(data(signed(claims())), { agent_type: 'clerk' }).code, 'wrong_audience');
    assert.equal(verify(data(signed(claims({ tenant_id: undefined }))), { tenant_id: 't2' }).tenant_id, null);
});

test('the clock skew is in seconds', () => {
    const late = now() - 100;
    assert.equal(refusal(data(signed(claims({ exp: late }))), { clock_skew_s: 30 }).code, 'expired');
    assert.equal(verify(data(signed(claims({ exp: late }))), { clock_skew_s: 300 }).expires_at, late);
});

test('a scheme without its secret is refused', () => {
    const shared = data('hush-shared', 'shared_secret');
    assert.equal(refusal(shared, { shared_secret: undefined }).code, 'unsupported_scheme');
    assert.equal(refusal(data(signed(claims())), { signing_secret: undefined }).code, 'unsupported_scheme');
});

for (const [what, more, said] of [
    ['no secret', { signing_secret: undefined, shared_secret: undefined }, /signing_secret/],
    ['an empty secret', { signing_secret: '' }, /signing_secret/],
    ['a secret that is no text', { signing_secret: 7 }, /signing_secret/],
    ['an empty instance id', { instance_id: '' }, /instance_id/],
    ['too much skew', { clock_skew_s: 301 }, /clock_skew_s/],
    ['negative skew', { clock_skew_s: -1 }, /clock_skew_s/],
    ['an option that there is not', { signing_sekret: 'x' }, /signing_sekret/],
]) {
    test(`${what} is the caller's mistake and not the dispatch's`, () => {
        const error = refusal({}, more);
        assert.ok(!(error instanceof DispatchAuthVerifyError), inspect(error));
        assert.match(error.message, said);
        assert.doesNotMatch(inspect(error), /hush/);
    });
}

test('options that are no object are a TypeError', () => {
    for (const options of [undefined, null, 'x'])
        assert.throws(() => verify_dispatch_auth({}, options), TypeError);
});

test('no character of a good token can be changed', () => {
    const good = signed(claims());
    for (let index = 0; index < good.length; index += 1) {
        const other = good[index] === 'A' ? 'B' : 'A';
        const token = good.slice(0, index) + other + good.slice(index + 1);
        // The last character of a signature has two bits that mean nothing, which are refused all the same.
        assert.match(refusal(data(token)).code, /^(bad_signature|malformed_envelope)$/, `at ${index}`);
    }
    assert.equal(verify(data(good)).scheme, 'svantic_jwt');
});

test('a token is good once, in whichever thread of the process', async () => {
    const dispatch = data(signed(claims()));
    verify(dispatch);
    const worker = new Worker(
        `
        const { parentPort, workerData } = require('node:worker_threads');
        const { verify_dispatch_auth } = require(workerData.module);
        try {
            parentPort.postMessage(verify_dispatch_auth(workerData.dispatch, workerData.options).scheme);
        } catch (error) {
            parentPort.postMessage(error.code);
        }
    `,
        {
            eval: true,
            workerData: {
                dispatch,
                options: { instance_id: 'i1', signing_secret: SECRET },
                module: new URL('../dist/index.js', import.meta.url).pathname,
            },
        },
    );
    const answer = await new Promise((resolve, reject) => worker.on('message', resolve).on('error', reject));
    await worker.terminate();
    assert.equal(answer, 'replayed');
});

test('the issuer is public', () => assert.equal(MESH_DISPATCH_JWT_ISSUER, 'svantic-mesh'));
