// An agent behind every kind of server: probed, called in each way, and by nobody but the mesh.
import assert from 'node:assert/strict';
import test from 'node:test';
import { agent_with } from './support/agents.mjs';
import { Gateway, wait_for } from './support/gateway.mjs';
import { CARRIERS, SECRET, ask, listening } from './support/hosted.mjs';

const FORGED = [
    'missing_envelope', 'bad_signature', 'flipped_bit', 'alg_none', 'expired', 'wrong_audience',
    'malformed_envelope', 'unsupported_scheme', 'alg_rs256', 'alg_lower_case', 'registration_token',
    'no_expiry', 'far_expiry', 'wrong_issuer', 'wrong_tenant', 'wrong_instance', 'wrong_agent_type',
    'replayed_other_body',
];
const METHODS = ['message/send', 'message/stream', 'SendMessage', 'SendStreamingMessage'];

for (const [name, carry] of Object.entries(CARRIERS)) {
    test(`${name}: the mesh reads the card and its calls are answered in every way`, async (t) => {
        const gateway = await Gateway.start({ test: t, args: ['--dispatch-secret', SECRET] });
        const runs = [];
        let agent;
        const url = await carry(t, (public_url) => {
            const echo = (args) => (runs.push(args), args);
            return (agent = agent_with({ echo_it: echo }, { public_url, instance_id: 'desk-1' }));
        });
        const options = { signing_secret: SECRET, handle_signals: false, logger: false };
        const mesh = await agent.start(gateway.config(options));
        gateway.at_end(() => agent.stop());
        assert.equal(mesh.deployment_mode, 'hosted');
        const { headers, json } = await ask(`${url}/.well-known/agent-card.json`, { method: 'GET' });
        assert.deepEqual(json, mesh.agent_card);
        assert.ok(json.url.startsWith(`${url}/`), json.url);
        const again = { method: 'GET', headers: { 'if-none-match': headers.etag } };
        assert.equal((await ask(`${url}/.well-known/agent-card.json`, again)).status, 304);

        for (const method of METHODS) {
            const answer = await gateway.dispatch('echo_it', { method, text: 'Grüße 🐟' }, { method });
            assert.deepEqual(answer.result, { method, text: 'Grüße 🐟' });
        }
        assert.equal(runs.length, METHODS.length);
        const wrong = await gateway.dispatch('never_heard_of', {});
        assert.equal(wrong.error.code, 'UNKNOWN_SKILL');
        assert.deepEqual(await gateway.violations(), []);
        assert.equal((await gateway.agent()).registered, true);
        await agent.stop();
        assert.equal((await ask(json.url, { body: '{}' })).status, 503, 'it has left, and says so');
    });

    test(`${name}: forged calls are refused, and none reaches a handler`, async (t) => {
        const { gateway, runs } = await counting(t, carry);
        await gateway.dispatch('count', {});
        for (const forge of FORGED.slice(0, 6)) {
            const { error } = await gateway.dispatch('count', { forge }, { forge });
            assert.equal(error?.code, 'HTTP_401', forge);
        }
        assert.ok('result' in (await gateway.dispatch('count', {}, { forge: 'replayed' })));
        assert.equal(runs.length, 2, 'a good one, and the one that was replayed');
    });
}

/** An agent that counts its runs, on the mesh of a gateway that signs. */
async function counting(t, carry) {
    const gateway = await Gateway.start({ test: t, args: ['--dispatch-secret', SECRET] });
    const runs = [];
    let agent;
    const count = (args) => runs.push(args);
    await carry(t, (public_url) => (agent = agent_with({ count }, { public_url })));
    await agent.start(gateway.config({ signing_secret: SECRET, handle_signals: false, logger: false }));
    gateway.at_end(() => agent.stop());
    return { gateway, runs, agent };
}

test('every kind of forgery is refused with the same words, and the handler does not run', async (t) => {
    const { gateway, runs } = await counting(t, CARRIERS['node:http']);
    const told = new Set();
    for (const forge of FORGED) {
        // Ten failures a second are looked at; whoever sends more has to wait.
        const refused = async () => {
            const { error } = await gateway.dispatch('count', { forge }, { forge });
            return error?.code !== 'HTTP_429' && (error ?? 'no error');
        };
        const { code, message } = await wait_for(refused, forge);
        told.add(`${code} ${message}`);
    }
    assert.deepEqual([...told], ['HTTP_401 the dispatch is not authenticated']);
    const good = runs.filter(({ forge }) => forge !== 'replayed_other_body');
    assert.deepEqual(good, [], 'nothing but the good calls whose tokens were stolen');
});

test('a secret is rotated without a refused call', async (t) => {
    const gateway = await Gateway.start({ test: t, args: ['--dispatch-secret', SECRET] });
    const site = await listening(t);
    const agent = agent_with({}, { public_url: site.url });
    site.handle = agent.request_listener();
    const secrets = { signing_secret: SECRET, signing_secret_next: `${SECRET}-next` };
    await agent.start(gateway.config({ ...secrets, handle_signals: false, logger: false }));
    gateway.at_end(() => agent.stop());
    assert.deepEqual((await gateway.dispatch('echo', { n: 1 })).result, { n: 1 });
    await gateway.rotate(secrets.signing_secret_next);
    assert.deepEqual((await gateway.dispatch('echo', { n: 2 })).result, { n: 2 });
    await gateway.rotate('another secret that the agent was never told');
    assert.equal((await gateway.dispatch('echo', { n: 3 })).error?.code, 'HTTP_401');
});
