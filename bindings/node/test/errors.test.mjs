// The error class, and the code that a handler may choose.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { CapabilityError, SvanticError } from 'svantic';
import * as mesh from 'svantic/mesh';
import './support/environment.mjs';

test('an error says what failed, its code, and what to do', () => {
    const cause = new Error('below');
    const error = new SvanticError('it failed', {
        status: 'AUTH',
        code: 'UNAUTHORIZED',
        hint: 'log in',
        http_status: 401,
        retryable: true,
        cause,
    });
    assert.equal(error.message, 'it failed [UNAUTHORIZED]. log in');
    assert.deepEqual(
        [
            error.name,
            error.code,
            error.status,
            error.status_code,
            error.http_status,
            error.retryable,
            error.hint,
        ],
        ['SvanticError', 'UNAUTHORIZED', 'AUTH', 24, 401, true, 'log in'],
    );
    assert.equal(error.cause, cause);
    assert.ok(error instanceof Error && error instanceof SvanticError);
    assert.match(inspect(error), /SvanticError: it failed \[UNAUTHORIZED\]/);
});

test('an error needs no more than its words', () => {
    const error = new SvanticError('it failed');
    assert.equal(error.message, 'it failed [INTERNAL]');
    assert.equal(error.retryable, false);
    assert.ok(!('cause' in error));
});

test('there is one class, whichever way it is imported', async () => {
    assert.equal(mesh.SvanticError, SvanticError);
    const { createRequire } = await import('node:module');
    assert.equal(createRequire(import.meta.url)('svantic').SvanticError, SvanticError);
});

test('a CapabilityError takes a code that the wire can carry, and no other', () => {
    const error = new CapabilityError('no such order', { code: 'NO_SUCH_ORDER', cause: 5 });
    assert.deepEqual(
        [error.name, error.message, error.code, error.cause],
        ['CapabilityError', 'no such order', 'NO_SUCH_ORDER', 5],
    );
    assert.equal(new CapabilityError('x').code, undefined);
    for (const code of ['', 'a\nb', 'x'.repeat(129), '\ud800', 5, null]) {
        assert.throws(() => new CapabilityError('x', { code }), TypeError, inspect(code));
    }
});
