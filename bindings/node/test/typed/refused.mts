// What must not compile: each line has the mistake that TypeScript is to find. Never run.
import { Agent, CapabilityError, verify_dispatch_auth } from 'svantic';
import { MeshConnector, WsTransport } from 'svantic/mesh';

// @ts-expect-error: an agent needs a description
new Agent({ name: 'desk' });
// @ts-expect-error: options are snake_case
new Agent({ name: 'desk', description: 'A desk', publicUrl: 'https://desk.example' });
// @ts-expect-error: smart agents are the platform's
new Agent({ name: 'desk', description: 'A desk', instructions: 'Be kind.' });
// @ts-expect-error: exactOptionalPropertyTypes: leave it out instead
new Agent({ name: 'desk', description: 'A desk', version: 1 });

const agent = new Agent({ name: 'desk', description: 'A desk' });
// @ts-expect-error: a capability needs a handler
agent.define_capability({ name: 'look', description: 'Looks.' });
// @ts-expect-error: a handler is a function
agent.define_capability({ name: 'look', description: 'Looks.', handler: 'look' });
// @ts-expect-error: the arguments are an object
agent.define_capability({ name: 'look', description: 'Looks.', handler: (where: string) => where });
// @ts-expect-error: the schema of arguments is that of an object
agent.define_capability({ name: 'l', description: 'L.', parameters: { type: 'string' }, handler: () => 1 });
agent.define_capability({
    name: 'look',
    description: 'Looks.',
    // @ts-expect-error: without a type of their own, arguments are unknown
    handler: async ({ where }) => where.length,
});
agent.define_capability({
    name: 'look',
    description: 'Looks.',
    // @ts-expect-error: the type that the handler says holds
    handler: async ({ where }: { where: string }) => where.toFixed(),
});
agent.define_capability({
    name: 'look',
    description: 'Looks.',
    // @ts-expect-error: a context has no such property
    handler: async (_args, context) => context.sessionId,
});

// @ts-expect-error: not an agent
new MeshConnector({ name: 'desk', description: 'A desk' });
// @ts-expect-error: an option with a typing mistake
new MeshConnector(agent, { timeout: 5_000 });
// @ts-expect-error: the way of delivery is the package's
new MeshConnector(agent, { delivery: 'callbacks' });
// @ts-expect-error: milliseconds are numbers
new MeshConnector(agent, { timeout_ms: '5s' });
// @ts-expect-error: a token provider gives a text
new MeshConnector(agent, { token_provider: async () => 5 });

const mesh = new MeshConnector(agent);
// @ts-expect-error: time limits have their unit in the name
await mesh.connect({ timeout: 5 });
// @ts-expect-error: the id is a text, not an object
(await mesh.create_session()).session_id;
// @ts-expect-error: there may be none
mesh.token.length;
// @ts-expect-error: read only
mesh.state = 'idle';
// @ts-expect-error: no such event
mesh.on('conected', () => {});
// @ts-expect-error: no such field in this event
mesh.on('backoff', ({ delay }) => delay);
mesh.on('event', (event) => {
    // @ts-expect-error: only some events have it
    console.log(event.data.dispatch_id);
});

new CapabilityError('no', { code: 'NO' });
// @ts-expect-error: the code stands in an object
new CapabilityError('no', 'NO');
// @ts-expect-error: whose call it is to be has to be said
verify_dispatch_auth({}, { signing_secret: 's' });
// @ts-expect-error: a transport needs somebody to ask for tokens
new WsTransport({ connect_url: 'ws://127.0.0.1:1', hello: {} });
