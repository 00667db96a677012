// What is wrong with an agent, a capability or an option is said where it is given.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Agent, SvanticError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';
import { agent_with } from './support/agents.mjs';
import './support/environment.mjs';

const CREDENTIALS = { svantic_url: 'http://127.0.0.1:1', client_id: 'c', client_secret: 's'.repeat(20) };
const connector = (options) => new MeshConnector(agent_with(), { ...CREDENTIALS, ...options });
const define = (fields) =>
    new Agent({ name: 'desk', description: 'A desk' }).define_capability({
        name: 'look',
        description: 'Looks.',
        handler: () => {},
        ...fields,
    });

const WRONG = {
    'no agent': [() => new MeshConnector('desk', CREDENTIALS), TypeError, /^agent must be an Agent/],
    'an agent of nobody': [
        () => new MeshConnector({ name: 'desk' }, CREDENTIALS),
        TypeError,
        /^agent must be an Agent/,
    ],
    'no configuration': [() => new Agent(), TypeError, /^new Agent\(\) takes an object/],
    'an agent without a name': [() => new Agent({ description: 'd' }), TypeError, /needs a name/],
    'an agent without a description': [() => new Agent({ name: 'n' }), TypeError, /needs a description/],
    'an option of smart agents': [
        () => new Agent({ name: 'n', description: 'd', instructions: 'be kind' }),
        TypeError,
        /^"instructions" is an option of agents that run a language model/,
    ],
    'a misspelt option of an agent': [
        () => new Agent({ name: 'n', description: 'd', instanceId: 'x' }),
        TypeError,
        /^unknown option "instanceId"; "instance_id" was probably meant$/,
    ],
    'a misspelt option': [
        () => connector({ client_secert: 'x' }),
        TypeError,
        /^unknown option "client_secert"; "client_secret" was probably meant$/,
    ],
    'a camel case option': [() => connector({ timeoutMs: 1 }), TypeError, /"timeout_ms" was probably meant$/],
    'an option like no other': [() => connector({ colour: 1 }), TypeError, /^unknown option "colour"$/],
    'a key called __proto__': [
        () => connector(JSON.parse('{"__proto__": {"token": "x"}}')),
        TypeError,
        /^unknown option/,
        // An object spread copies it as an own key, so it must be looked at.
    ],
    'an option of the library alone': [
        () => connector({ delivery: 'callbacks' }),
        TypeError,
        /^"delivery" is not an option here: /,
    ],
    'options that are none': [() => new MeshConnector(agent_with(), 5), TypeError, /must be an object/],
    'a text for a flag': [
        () => connector({ redact_handler_errors: 'no' }),
        TypeError,
        /must be true or false/,
    ],
    'a token for its provider': [
        () => connector({ token_provider: 'x.y.z' }),
        TypeError,
        /must be a function/,
    ],
    'a logger that is none': [() => connector({ logger: { error: 'x' } }), TypeError, /^logger must be/],
    'a logger without a method': [() => connector({ logger: {} }), TypeError, /^logger must be/],
    'an option that is not JSON': [
        () => connector({ dispatch_auth: { n: 1n } }),
        TypeError,
        /^`dispatch_auth` is not JSON/,
    ],
    'a time that is no number': [
        () => connector({ drain_timeout_ms: Number('30s') }),
        RangeError,
        /^`drain_timeout_ms` is NaN, and must be a finite number$/,
    ],
    'a limit without end': [() => connector({ max_in_flight: Infinity }), RangeError, /^`max_in_flight` is Inf/],
    'a function for data': [() => connector({ ca_file: () => {} }), TypeError, /^`ca_file` is not JSON$/],
    'a wrong value': [() => connector({ timeout_ms: 'soon' }), SvanticError, /timeout_ms/],
    'a value out of range': [() => connector({ timeout_ms: 1 }), SvanticError, /timeout_ms.*10/],
    'a url that is none': [() => connector({ svantic_url: 'mesh' }), SvanticError, /svantic_url/],
    'a name that is no name': [
        () => define({ name: 'Find-Order' }),
        TypeError,
        /"Find-Order" is not snake_case/,
    ],
    'no handler': [
        () => define({ handler: undefined }),
        TypeError,
        /handler of capability "look" is not a function/,
    ],
    'no description': [() => define({ description: '' }), TypeError, /"look" has no description/],
    'an unknown key': [() => define({ params: {} }), TypeError, /unknown option "params" of capability "look"/],
    'tags that are no texts': [() => define({ tags: [1] }), TypeError, /tags of capability "look"/],
    'parameters that are no schema': [
        () => define({ parameters: 'x' }),
        TypeError,
        /parameters of capability "look"/,
    ],
    'a capability that is none': [
        () => new Agent({ name: 'n', description: 'd' }).define_capability('look'),
        TypeError,
        /takes an object/,
    ],
    'a name that is taken': [
        () => agent_with().define_capability({ name: 'echo', description: 'd', handler() {} }),
        TypeError,
        /has a capability "echo" already/,
    ],
};

for (const [what, [attempt, kind, words]] of Object.entries(WRONG)) {
    test(`${what} is refused at once, with what to do`, () => {
        assert.throws(attempt, (error) => {
            assert.ok(error instanceof kind, `${error}`);
            assert.match(error.message, words);
            return true;
        });
    });
}

test('a capability that a live connector refuses is not defined at all', () => {
    const agent = agent_with();
    const mesh = new MeshConnector(agent, CREDENTIALS);
    const wrong = { name: 'wrong', description: 'd', parameters: { type: 'nothing' }, handler() {} };
    assert.throws(() => agent.define_capability(wrong), SvanticError);
    assert.ok(!agent.capabilities.has('wrong'));
    agent.define_capability({ ...wrong, parameters: { type: 'object' } });
    assert.ok(JSON.stringify(mesh.agent_card).includes('wrong'));
});

test('options that are undefined are as if they were left out', () => {
    const mesh = connector({ proxy: undefined, timeout_ms: undefined, logger: undefined });
    assert.equal(mesh.state, 'idle');
});

test('the environment says where the mesh is and who the agent is, and options win', (t) => {
    const before = { ...process.env };
    t.after(() => {
        for (const key of Object.keys(process.env)) if (!(key in before)) delete process.env[key];
    });
    Object.assign(process.env, {
        SVANTIC_URL: 'http://127.0.0.1:2',
        SVANTIC_CLIENT_ID: 'e',
        SVANTIC_CLIENT_SECRET: 'e'.repeat(20),
    });
    assert.match(new MeshConnector(agent_with()).svantic_url, /:2\/?$/);
    assert.match(new MeshConnector(agent_with(), CREDENTIALS).svantic_url, /:1\/?$/);
});

test('an agent tells what it was given', () => {
    const agent = new Agent({ name: 'desk', description: 'A desk', version: '2.0.0', instance_id: 'desk-1' });
    assert.equal(agent.name, 'desk');
    assert.equal(agent.description, 'A desk');
    assert.equal(agent.version, '2.0.0');
    assert.equal(agent.instance_id, 'desk-1');
    assert.equal(agent.agent_type, 'desk');
    assert.equal(agent.connector, undefined);
    assert.equal(agent.capabilities.size, 0);
});
