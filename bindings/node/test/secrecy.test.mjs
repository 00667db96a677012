// S-14: of a failed handler the mesh learns the message alone. S-02: no secret comes out anywhere.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import test from 'node:test';
import { inspect } from 'node:util';
import { folder_with_package, run_node } from './support/child.mjs';
import { Gateway } from './support/gateway.mjs';
import { Agent, CapabilityError } from 'svantic';
import { MeshConnector } from 'svantic/mesh';

/** What must stay here: in a cause, in a property, in the name of a function, in what inspect shows. */
const CANARIES = {
    cause: 'canary-cause-5f1e7a',
    aggregate: 'canary-aggregate-5f1e7a',
    property: 'canary-property-5f1e7a',
    inspect: 'canary-inspect-5f1e7a',
    name: 'CanaryName5f1e7a',
    json: 'canary-json-5f1e7a',
};
const MESSAGE = 'message-of-the-error-33c0';
const FILE = path.basename(new URL(import.meta.url).pathname);

class Talkative extends Error {
    constructor() {
        super(MESSAGE, { cause: new Error(CANARIES.cause, { cause: CANARIES.cause }) });
        this.detail = CANARIES.property;
        this.name = CANARIES.name;
    }

    toString() {
        return CANARIES.inspect;
    }

    toJSON() {
        return CANARIES.json;
    }

    [Symbol.for('nodejs.util.inspect.custom')]() {
        return CANARIES.inspect;
    }
}

function canary_function_91d2(how) {
    switch (how) {
        case 'talkative': throw new Talkative();
        case 'declared': throw new CapabilityError(MESSAGE, { cause: new Error(CANARIES.cause) });
        case 'aggregate': throw new AggregateError([new Error(CANARIES.aggregate)], MESSAGE);
        case 'text': throw MESSAGE;
        case 'object': throw { message: MESSAGE, detail: CANARIES.property };
        default: return { value: 1n, detail: CANARIES.property };
    }
}

/** All that the mesh was told. */
async function wire(gateway) {
    return JSON.stringify([await gateway.frames(), await gateway.snapshot()]);
}

/** What was logged, as a person at the log reads it. */
function keeping_logger() {
    const told = [];
    const keep = (...words) => {
        const shown = (word) => word?.stack ?? (typeof word === 'string' ? word : JSON.stringify(word));
        told.push(words.map(shown).join(' '));
    };
    return { logger: { debug: keep, info: keep, warn: keep, error: keep }, told };
}

async function fail_in_every_way(gateway, kind, options = {}) {
    const agent = new Agent({ name: 'failing', description: 'Fails with much to hide' });
    const handler = kind === 'at_once'
        ? ({ how }) => canary_function_91d2(how)
        : async ({ how }) => {
            await new Promise(setImmediate);
            return canary_function_91d2(how);
        };
    agent.define_capability({ name: 'fail', description: 'Fails as asked', handler });
    const { logger, told } = keeping_logger();
    const mesh = new MeshConnector(agent, gateway.config({ logger, ...options }));
    gateway.at_end(() => mesh.close());
    await mesh.connect();
    const answers = {};
    for (const how of ['talkative', 'declared', 'aggregate', 'text', 'object', 'not_json']) {
        answers[how] = await gateway.dispatch('fail', { how });
    }
    return { answers, log: () => told.join('\n') };
}

const HIDDEN = [...Object.values(CANARIES), 'canary_function_91d2', FILE, 'at async', 'node:internal'];

for (const kind of ['at_once', 'in_a_promise']) {
    test(`s14: of a failed handler the mesh learns the message alone: ${kind}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const { answers, log } = await fail_in_every_way(gateway, kind);
        const told = await wire(gateway);
        for (const how of ['talkative', 'declared', 'aggregate', 'text']) {
            assert.equal(answers[how].error?.code, 'HANDLER_ERROR', how);
            assert.equal(answers[how].error.message, `capability "fail" failed: ${MESSAGE}`, how);
        }
        assert.equal(answers.object.error?.code, 'HANDLER_ERROR');
        assert.equal(answers.not_json.error?.code, 'INVALID_RESULT');
        assert.match(answers.not_json.error.message, /fail/);
        for (const hidden of HIDDEN) assert.ok(!told.includes(hidden), hidden);
        // The person at the log needs all of it.
        for (const shown of [MESSAGE, 'canary_function_91d2', answers.talkative.dispatch_id]) {
            assert.ok(log().includes(shown), `${shown} is not in the log:\n${log()}`);
        }
    });

    test(`s14: with redaction only a declared error keeps its message: ${kind}`, async (t) => {
        const gateway = await Gateway.start({ test: t });
        const { answers, log } = await fail_in_every_way(gateway, kind, { redact_handler_errors: true });
        const told = await wire(gateway);
        assert.ok(answers.declared.error.message.endsWith(MESSAGE), answers.declared.error.message);
        for (const how of ['talkative', 'aggregate', 'text', 'object']) {
            const { code, message } = answers[how].error;
            assert.equal(code, 'HANDLER_ERROR', how);
            assert.ok(!message.includes(MESSAGE), message);
            // The id that leads the person at the log to it.
            const ids = message.match(/[0-9a-zA-Z-]{8,}/g) ?? [];
            assert.ok(ids.some((id) => log().includes(id)), `${message}\n${log()}`);
        }
        const entries = (await gateway.ledger()).filter((e) => e.id !== answers.declared.dispatch_id);
        assert.ok(!JSON.stringify(entries).includes(MESSAGE));
        for (const hidden of HIDDEN) assert.ok(!told.includes(hidden), hidden);
    });
}

const SECRET = 'kanarie-SECRET/9f+e7%22"quoted"-b1d4c0ffee';
const NEXT_SECRET = 'andere-GEHEIM/3a+b8%27\'quoted\'-d00dfeed42';

const TALKING = `
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { inspect } from 'node:util';
import * as svantic from 'svantic';
import * as mesh_module from 'svantic/mesh';

const { Agent } = svantic;
const { MeshConnector } = mesh_module;
const lines = createInterface({ input: process.stdin });
const next_line = async () => (await once(lines, 'line'))[0];
const { secret, token_file, url, client_id, next_secret } = JSON.parse(await next_line());

const DEEP = { depth: 12, showHidden: true };

/** Everything a program might print of a thing. */
function show(thing) {
    console.log(inspect(thing, { ...DEEP, getters: true, showProxy: true, maxStringLength: null }));
    console.log(thing);
    for (const write of [String, JSON.stringify, (value) => JSON.stringify({ ...value }), structuredClone]) {
        try {
            console.log(inspect(write(thing), { depth: 12 }));
        } catch (error) {
            console.log(String(error));
        }
    }
    if (thing === null || typeof thing !== 'object') return;
    for (let level = thing; level && level !== Object.prototype; level = Object.getPrototypeOf(level)) {
        for (const key of Reflect.ownKeys(level)) {
            // The token is handed out to who asks for it by name.
            if (key === 'token') continue;
            try {
                const value = thing[key];
                if (typeof value !== 'function') console.log(String(key), inspect(value, DEEP));
            } catch (error) {
                console.log(String(key), inspect(error));
            }
        }
    }
}

async function attempt(call) {
    try {
        show(await call());
    } catch (error) {
        console.log('FAILED', error.stack, inspect(error, DEEP));
        show(error);
    }
}

const agent = new Agent({ name: 'talking', description: 'Tells everything' });
agent.define_capability({
    name: 'fail',
    description: 'Fails',
    handler: (args, context) => {
        show(context);
        void context.signal;
        show(context);
        throw new Error('as planned');
    },
});

const logger = {};
for (const level of ['debug', 'info', 'warn', 'error']) {
    logger[level] = (...words) => console.log('LOG', level, ...words, inspect(words, DEEP));
}
const options = { svantic_url: url, client_id, client_secret: secret, logger };
process.on('warning', show);
await attempt(() => new MeshConnector(agent, { ...options, tokem: secret }));
await attempt(() => new MeshConnector(agent, { ...options, timeout_ms: secret }));
await attempt(() => new MeshConnector(agent, { ...options, client_secret: [secret] }));
await attempt(() => new MeshConnector(agent, { ...options, client_secret: { toJSON: () => [secret] } }));
const other_url = 'http://u:' + next_secret + '@nowhere.invalid';
await attempt(() => new MeshConnector(agent, { ...options, svantic_url: other_url }));
const connecting = (more) => new MeshConnector(agent, { ...options, ...more }).connect();
await attempt(() => connecting({ client_secret: secret + 'wrong' }));
await attempt(() => connecting({ client_id: undefined, client_secret: undefined }));
const made_up = 'eyJhbGciOiJub25lIn0.' + next_secret + '.x';
await attempt(() => new MeshConnector(agent, { svantic_url: url, token: made_up, logger }).connect());
const provided = { svantic_url: url, timeout_ms: 500, logger };
await attempt(() => new MeshConnector(agent, {
    ...provided, token_provider: () => { throw new Error('no token today'); },
}).connect());
await attempt(() => new MeshConnector(agent, { ...provided, token_provider: () => [made_up] }).connect());
await attempt(() => new MeshConnector(agent, { ...provided, token_provider: async () => made_up }).connect());
await attempt(() => connecting({ logger: { error: secret, debug() { throw new Error(); } } }));

const rotating = { client_secret_next: next_secret, reconnect_delays_ms: [5] };
const mesh = new MeshConnector(agent, { ...options, ...rotating });
let seen = 0;
mesh.on('event', (...event) => {
    seen += 1;
    show(event);
});
await mesh.connect();
writeFileSync(token_file, mesh.token);
console.log('CONNECTED', mesh.instance_id);
await next_line();
for (const thing of [
    agent, mesh, mesh.ws_transport, mesh.snapshot(), mesh.stats, mesh.health, mesh.agent_card, mesh.agent,
    svantic, mesh_module, mesh.connect, mesh.events(),
]) show(thing);
console.log('JSON', JSON.stringify(mesh), JSON.stringify(agent));
await attempt(() => mesh.refresh_token(made_up));
await mesh.refresh_token();
await mesh.re_register();
await mesh.close_session(await mesh.create_session());
await attempt(() => mesh.close_session('none'));
await mesh.disconnect();
await attempt(() => mesh.connect());
await attempt(() => mesh.create_session());
await mesh.close();
await attempt(() => mesh.create_session());
show(mesh);

// What start() makes of the same.
const started = new Agent({ name: 'started', description: 'Is started', mesh: options });
show(started);
await started.start();
show(started);
await started.stop();
show(started);
lines.close();
console.log('DONE', seen);
`;

/** The secret as it might be written by somebody: plain, JSON, percent, base64, hex. */
function forms(secret) {
    const raw = Buffer.from(secret);
    const json = JSON.stringify(secret).slice(1, -1);
    return [
        secret, json, JSON.stringify(json).slice(1, -1), encodeURIComponent(secret),
        encodeURIComponent(secret).replaceAll('%20', '+'), raw.toString('base64'), raw.toString('base64url'),
        raw.toString('hex'), secret.replaceAll("'", "\\'"), [...raw].join(', '),
    ];
}

/** Every piece of 12 characters of every form. */
function pieces(secret) {
    const found = new Set();
    for (const form of forms(secret)) {
        for (let at = 0; at + 12 <= form.length; at += 1) found.add(form.slice(at, at + 12));
    }
    return [...found];
}

test('s02: a program that prints and logs everything shows no secret and no token', async (t) => {
    const gateway = await Gateway.start({ test: t, client_secret: SECRET });
    const token_file = path.join(folder_with_package(t), 'token');
    const program = run_node(t, TALKING, { env: { NODE_DEBUG: 'svantic', RUST_LOG: 'trace' } });
    const { url, client_id } = gateway;
    program.say(JSON.stringify({ secret: SECRET, token_file, url, client_id, next_secret: NEXT_SECRET }));
    const instance_id = await program.wait_line('CONNECTED');
    assert.match((await gateway.dispatch('fail')).error.message, /as planned$/);
    await gateway.abort(instance_id);
    await gateway.wait_ready(instance_id, { welcomes: 2 });
    program.say();
    assert.ok(Number(await program.wait_line('DONE')) > 5);
    assert.equal(await program.wait(), 0, program.story());
    const shown = `${program.stdout}\n${program.stderr}`;
    // The run did what it was meant to: failures of every kind, logs and events are in what it shows.
    const wanted = ['UNAUTHORIZED', 'as planned', 'MeshConnector', 'LOG warn', 'tokem', 'registered'];
    for (const expected of wanted) {
        assert.ok(shown.includes(expected), expected);
    }
    // The beginning of a token is the same for all of them: what is secret begins with its claims.
    const [, claims, signature] = readFileSync(token_file, 'utf8').split('.');
    for (const [what, secret] of Object.entries({ SECRET, NEXT_SECRET, claims, signature })) {
        const leaked = pieces(secret).filter((piece) => shown.includes(piece));
        const where = shown.split('\n').filter((line) => leaked.some((piece) => line.includes(piece)));
        assert.deepEqual(where.slice(0, 3), [], `${what} is shown`);
    }
});

test('a connector that is printed or written down says who it is and no secret', async (t) => {
    const gateway = await Gateway.start({ test: t });
    const agent = new Agent({ name: 'shown', description: 'Is written down', instance_id: 'shown-1' });
    const mesh = new MeshConnector(agent, gateway.config());
    gateway.at_end(() => mesh.close());
    await mesh.connect();
    const shown = { agent: 'shown', instance_id: 'shown-1', state: 'connected', connected: true };
    assert.equal(JSON.stringify(mesh), JSON.stringify(shown));
    assert.equal(inspect(mesh), `MeshConnector ${inspect(shown)}`);
    assert.equal(inspect([mesh], { getters: true, showHidden: true }).includes(mesh.token), false);
    await mesh.close();
    assert.equal(JSON.parse(JSON.stringify(mesh)).state, 'closed');
    for (const text of [JSON.stringify(agent), inspect(agent, { showHidden: true, getters: true, depth: 9 })]) {
        assert.ok(!text.includes(gateway.client_secret), text);
    }
});
