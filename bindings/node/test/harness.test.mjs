// The harness itself: a gateway and a program end whatever happens, and what they say arrives.
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import test from 'node:test';
import { run_node } from './support/child.mjs';
import { Gateway, Refused, wait_for } from './support/gateway.mjs';

const support = new URL('./support/', import.meta.url);

/** A process that has ended and waits to be reaped counts as gone. */
function gone(pid) {
    if (!existsSync(`/proc/${pid}/stat`)) return true;
    try {
        return /\) [ZX] /.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
    } catch {
        return true;
    }
}

test('a gateway starts, shows what it saw, and comes back on its port with its secret', async (t) => {
    const gateway = await Gateway.start({ test: t, args: ['--token-ttl', '100'] });
    const { url, client_secret } = gateway;
    assert.match(await gateway.issue_token(), /^ey/);
    assert.deepEqual((await gateway.requests()).map((request) => request.path), ['/auth/get_token']);
    assert.deepEqual(await gateway.agents(), []);
    await assert.rejects(gateway.dispatch('nothing', {}, { timeout: 1 }), (error) => {
        assert.ok(error instanceof Refused, String(error));
        return error.status === 503;
    });
    await gateway.kill();
    await gateway.restart();
    assert.deepEqual([gateway.url, gateway.client_secret], [url, client_secret]);
    const { agents, totals, ledger, violations } = await gateway.snapshot();
    assert.deepEqual([agents, ledger, violations, totals.results], [[], [], [], 0]);
    await gateway.stop();
});

test('a program says its lines, hears what it is told and ends with its status', async (t) => {
    const program = run_node(t, `
        process.stdin.once('data', (data) => {
            console.log('HEARD', String(data).trim(), process.argv[2], process.env.COLOUR);
            console.error('an error line');
            process.exit(7);
        });
        console.log('READY');
    `, { args: ['argument'], env: { COLOUR: 'green' } });
    await program.wait_line('READY');
    program.say('a word');
    assert.equal(await program.wait_line('HEARD'), 'a word argument green');
    assert.equal(await program.wait(), 7);
    assert.equal(program.stderr, 'an error line');
    await assert.rejects(program.wait_line('MORE'), /it ended without a line 'MORE'/);
});

test('a program that hangs fails its test and tells what its threads do', async (t) => {
    const program = run_node(t, 'setInterval(() => {}, 1000); console.log("READY");');
    await program.wait_line('READY');
    await assert.rejects(program.wait(50), /it hangs\nrunning\nthread \d+ node/);
    assert.ok(gone(program.pid));
});

const STARTING = `
const { Gateway } = await import(process.argv[2] + 'gateway.mjs');
const { run_node } = await import(process.argv[2] + 'child.mjs');
const gateway = await Gateway.start();
const program = run_node({ after() {} }, 'console.log("PID", process.pid); process.stdin.resume();');
const [pid] = (await program.wait_line('PID')).split(' ');
console.log('PIDS', JSON.stringify([Number(pid), gateway.pid]));
if (process.argv[3] === 'end') process.exit(0);
if (process.argv[3] === 'natural') await program.kill();
else setInterval(() => {}, 1000);
`;

for (const way of ['end', 'kill', 'natural']) {
    test(`what a test process has started ends with it: ${way}`, async (t) => {
        const env = { SVANTIC_GATEWAY: process.env.SVANTIC_GATEWAY };
        const program = run_node(t, STARTING, { args: [String(support), way], env });
        const pids = JSON.parse(await program.wait_line('PIDS'));
        assert.ok(pids.length === 2 && pids.every(Number.isInteger), String(pids));
        if (way === 'kill') program.signal('SIGKILL');
        assert.equal(await program.wait(), way === 'kill' ? 'SIGKILL' : 0, program.story());
        await wait_for(() => pids.every(gone), `the end of ${pids}`);
    });
}
