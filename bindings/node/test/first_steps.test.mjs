// What goes wrong first for somebody new says, in one message, what to do.
import assert from 'node:assert/strict';
import path from 'node:path';
import test from 'node:test';
import { Agent, SvanticError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';

const CREDENTIALS = { client_id: 'c', client_secret: 's'.repeat(20) };
const NOWHERE = { ...CREDENTIALS, svantic_url: 'http://127.0.0.1:1', logger: false };

const desk = (more = {}) => new Agent({ name: 'desk', description: 'A desk', ...more });

/** Defines a capability, of which only the fields given may be wrong. */
function define(fields = {}) {
    const agent = desk();
    agent.define_capability({ name: 'look', description: 'Looks.', handler: () => null, ...fields });
    return agent;
}

/** The same, told to the library. */
const connector_with = (fields) => new MeshConnector(define(fields), NOWHERE);

const MISTAKES = {
    'no options at all': [() => new Agent(), TypeError, /^new Agent\(\) takes an object/],
    'an agent without a name': [
        () => new Agent({ description: 'x' }), TypeError, /^an Agent needs a name, which is a text$/,
    ],
    'an agent without a description': [
        () => new Agent({ name: 'x' }), TypeError, /^an Agent needs a description, which is a text$/,
    ],
    'a camelCase option of an agent': [
        () => desk({ publicUrl: 'https://desk.example' }), TypeError,
        /^unknown option "publicUrl"; "public_url" was probably meant$/,
    ],
    'a misspelt option of an agent': [
        () => desk({ agent_typ: 'clerk' }), TypeError, /"agent_typ"; "agent_type" was probably meant$/,
    ],
    'an option of the connector given to the agent': [
        () => desk({ client_id: 'c' }), TypeError,
        /^"client_id" is an option of the connector: give it in "mesh"$/,
    ],
    'instructions, which only the platform has': [
        () => desk({ instructions: 'Be kind.' }), TypeError, /^"instructions" .*language model/,
    ],
    'a model, which only the platform has': [
        () => desk({ llm: { provider: 'x' } }), TypeError, /^"llm" .*language model/,
    ],
    'a port that is none': [
        () => desk({ port: 70_000 }), TypeError, /^port is 70000, and must be a number from 0 to 65535$/,
    ],
    'a port that is a text, as an environment has it': [
        () => desk({ port: '3000' }), TypeError, /^port is of type string, and must be a number/,
    ],
    'a capability without a name': [
        () => define({ name: undefined }), TypeError, /^the capability name undefined is not snake_case/,
    ],
    'a name that is not snake_case': [
        () => define({ name: 'findOrder' }), TypeError, /"findOrder" is not snake_case \(a-z, 0-9 and _/,
    ],
    'a handler that is no function': [
        () => define({ handler: 'look' }), TypeError,
        /^the handler of capability "look" is not a function$/,
    ],
    'a handler that is called instead of given': [
        () => define({ handler: (async () => 1)() }), TypeError,
        /^the handler of capability "look" is a promise: give the function, without calling it$/,
    ],
    'a misspelt field of a capability': [
        () => define({ paramaters: {} }), TypeError,
        /^unknown option "paramaters" of capability "look"; "parameters" was probably meant$/,
    ],
    'a camelCase field of a capability': [
        () => define({ inputSchema: {} }), TypeError, /^unknown option "inputSchema" of capability "look"/,
    ],
    'parameters that are no object': [
        () => define({ parameters: 'order_id' }), TypeError,
        /^the parameters of capability "look" must be a JSON Schema, an object$/,
    ],
    'a schema that is none': [
        () => connector_with({ parameters: { type: 'object', properties: { id: { type: 'strnig' } } } }),
        SvanticError, /^the `parameters` of capability `look` are no JSON Schema: "strnig"/,
    ],
    'a schema of something else than an object': [
        () => connector_with({ parameters: { type: 'string' } }), Error,
        /`parameters` of capability `look`.*object/,
    ],
    'tags that are no texts': [
        () => define({ tags: 'orders' }), TypeError,
        /^the tags of capability "look" must be an array of strings$/,
    ],
    'the same capability twice': [twice, Error, /^the agent has a capability "look" already$/],
    'a connector without an agent': [
        () => new MeshConnector({ name: 'desk', description: 'A desk' }, NOWHERE), TypeError,
        /^agent must be an Agent of this package/,
    ],
    'no credentials': [
        () => new MeshConnector(desk()), SvanticError,
        /^there are no credentials.*\[MISSING_CREDENTIALS\].*SVANTIC_CLIENT_ID and SVANTIC_CLIENT_SECRET/,
    ],
    'half of the credentials': [
        () => new MeshConnector(desk(), { client_id: 'c' }), SvanticError, /client_secret/,
    ],
    'a URL that is none': [
        () => new MeshConnector(desk(), { ...CREDENTIALS, svantic_url: 'api.svantic.com' }), SvanticError,
        /^`svantic_url` was refused: it is not a URL \[INVALID_URL\]\. give a URL like https:/,
    ],
    'a URL without TLS': [
        () => new MeshConnector(desk(), { ...CREDENTIALS, svantic_url: 'http://mesh.example' }), SvanticError,
        /^`svantic_url` was refused: it has no TLS.*`allow_insecure`/,
    ],
    'a misspelt option': [
        () => new MeshConnector(desk(), { ...NOWHERE, heartbeat_intervall_ms: 5 }), TypeError,
        /^unknown option "heartbeat_intervall_ms"; "heartbeat_interval_ms" was probably meant$/,
    ],
    'a camelCase option': [
        () => new MeshConnector(desk(), { ...NOWHERE, clientId: 'c' }), TypeError,
        /"clientId"; "client_id" was probably meant$/,
    ],
    'an option without its unit': [
        () => new MeshConnector(desk(), { ...NOWHERE, timeout: 5 }), TypeError,
        /"timeout_ms" was probably meant$/,
    ],
    'an option of another language': [
        () => new MeshConnector(desk(), { ...NOWHERE, workers: 4 }), TypeError,
        /^"workers" is not an option here/,
    ],
    'a text for a number': [
        () => new MeshConnector(desk(), { ...NOWHERE, timeout_ms: '5s' }), Error, /timeout_ms/,
    ],
    'a token instead of a token provider': [
        () => new MeshConnector(desk(), { token_provider: 'jwt' }), TypeError,
        /^token_provider must be a function that returns a token/,
    ],
    'a logger that is none': [
        () => new MeshConnector(desk(), { ...NOWHERE, logger: 'info' }), TypeError,
        /^logger must be an object with methods/,
    ],
};

function twice() {
    const agent = define();
    agent.define_capability({ name: 'look', description: 'Looks.', handler: () => 1 });
}

for (const [what, [run, kind, text]] of Object.entries(MISTAKES)) {
    test(`${what} is named with the way out`, () => {
        assert.throws(run, (error) => {
            assert.ok(error instanceof kind, `${error?.name}: ${error?.message}`);
            assert.match(error.message, text);
            // Names of the C interface are of no use to whoever reads this.
            assert.doesNotMatch(error.message, /svantic_(?!url)|_json|user_data|NULL|koffi/);
            return true;
        });
    });
}

const CALLS = {
    'a time limit that is no number': [(mesh) => mesh.connect({ timeout_ms: '5' }), TypeError, /timeout_ms/],
    'a time limit without its unit': [
        (mesh) => mesh.connect({ timeout: 5 }), TypeError,
        /"timeout" of a call; "timeout_ms" was probably meant$/,
    ],
    'a number for the options of a call': [
        (mesh) => mesh.connect(5_000), TypeError, /^a time limit goes into an object: \{timeout_ms: 5000\}$/,
    ],
    'a controller instead of its signal': [
        (mesh) => mesh.connect({ signal: new AbortController() }), TypeError,
        /^signal must be an AbortSignal$/,
    ],
    'a session id that is no text': [(mesh) => mesh.close_session(5), TypeError, /session id.*string/],
    'a token that is no text': [(mesh) => mesh.refresh_token(5), TypeError, /token.*string/],
    'a session before there is a connection': [
        (mesh) => mesh.create_session({}), SvanticError, /not connected|no connection|connect/,
    ],
};

for (const [what, [run, kind, text]] of Object.entries(CALLS)) {
    test(`${what} is named with the way out, as a rejection`, async () => {
        const mesh = new MeshConnector(desk(), NOWHERE);
        await assert.rejects(async () => run(mesh), (error) => {
            assert.ok(error instanceof kind, `${error?.name}: ${error?.message}`);
            assert.match(error.message, text);
            return true;
        });
        await mesh.close();
    });
}

test('a mesh that is not running is told with its address and what to check', async () => {
    const mesh = new MeshConnector(desk(), { ...NOWHERE, fail_fast: true });
    await assert.rejects(mesh.connect(), (error) => {
        assert.deepEqual([error.code, error.status, error.retryable], ['UNREACHABLE', 'NETWORK', true]);
        assert.match(error.message, /http:\/\/127\.0\.0\.1:1.*Connection refused.*SVANTIC_URL/);
        return true;
    });
    assert.equal(mesh.state, 'idle', 'connect may be called again');
    await mesh.close();
});

test('a wrong secret is told at once, without the secret', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const wrong = gateway.config({ client_secret: 'wrong'.repeat(8), logger: false });
    const mesh = new MeshConnector(desk(), wrong);
    await assert.rejects(mesh.connect(), (error) => {
        assert.deepEqual([error.status, error.http_status, error.retryable], ['AUTH', 401, false]);
        assert.doesNotMatch(error.message + error.stack, /wrongwrong/);
        return true;
    });
    await mesh.close();
});

test('connecting twice says that a connector comes back by itself', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const mesh = new MeshConnector(desk(), gateway.config({ logger: false }));
    t.after(() => mesh.close());
    await mesh.connect();
    await assert.rejects(mesh.connect(), (error) => {
        assert.equal(error.status, 'INVALID_STATE');
        assert.match(error.message, /already connected/);
        return true;
    });
    await mesh.close();
    await mesh.close();
    await assert.rejects(mesh.connect(), /the connector has ended \[CLOSED\]. make a new MeshConnector$/);
});

test('starting twice says that it runs already, and stopping lets it start again', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const agent = desk({ mesh: gateway.config({ logger: false }) });
    await agent.start({ handle_signals: false });
    t.after(() => agent.stop());
    const told = /the agent desk has been started already \[STARTED\]\. call stop\(\) first$/;
    await assert.rejects(agent.start(), told);
    assert.equal(agent.connector.state, 'connected');
    await agent.stop();
    await agent.stop();
    await agent.start({ handle_signals: false });
    await agent.stop();
    assert.equal(agent.connector, undefined);
});

/** What the mesh hears of a handler that returns this. */
async function answer_of(t, handler) {
    const gateway = await Gateway.start({ test: t });
    const agent = define({ handler });
    agent.define_capability({ name: 'other', description: 'Another.', handler: () => 'fine' });
    const mesh = new MeshConnector(agent, gateway.config({ logger: false }));
    t.after(() => mesh.close());
    await mesh.connect();
    const answers = await Promise.all([gateway.dispatch('look'), gateway.dispatch('other')]);
    await mesh.close();
    assert.equal(answers[1].result, 'fine', 'others are not affected');
    return answers[0];
}

const cycle = { name: 'a' };
cycle.self = cycle;
const RESULTS = {
    'a number too large for JSON': [() => 5n, /BigInt/],
    'a cycle': [() => cycle, /circular/],
    'a function': [() => () => 1, /function/],
    'a symbol': [async () => Symbol('x'), /symbol/],
};

for (const [what, [handler, text]] of Object.entries(RESULTS)) {
    test(`a handler that returns ${what} is told so by name`, async (t) => {
        const { error } = await answer_of(t, handler);
        assert.equal(error.code, 'INVALID_RESULT');
        assert.match(error.message, /capability [`'"]look[`'"]/);
        assert.match(error.message, text);
    });
}

test('a promise that a plain handler returns without await is awaited', async (t) => {
    const ask = async () => ({ order_id: 'A17' });
    assert.deepEqual((await answer_of(t, () => ask())).result, { order_id: 'A17' });
});

test('a library that is not there is told with what to install', async (t) => {
    const env = { SVANTIC_LIBRARY: path.join(import.meta.dirname ?? '.', 'none.so') };
    const program = run_node(t, `
        import { Agent } from 'svantic';
        await new Agent({ name: 'desk', description: 'A desk' }).start();
    `, { env });
    assert.equal(await program.wait(), 1, program.story());
    assert.match(program.stderr, /libsvantic cannot be loaded from .*none\.so.*SVANTIC_LIBRARY/);
});

test('the search for the library looks at no connection of the program', async (t) => {
    // A report with them asks the name service for each of their names, and waits.
    const program = run_node(t, `
        const { report } = process;
        const write = report.getReport;
        report.getReport = (...given) => (console.log('without', report.excludeNetwork), write.apply(report, given));
        const { Agent } = await import('svantic');
        await new Agent({ name: 'desk', description: 'A desk' }).start().catch(() => {});
        console.log('afterwards', report.excludeNetwork ?? false);
    `, { env: { SVANTIC_LIBRARY: '' } });
    assert.equal(await program.wait(), 0, program.story());
    assert.deepEqual(program.lines, [
        ...(process.platform === 'linux' ? ['without true'] : []), // only there are two C libraries
        'afterwards false',
    ]);
});
