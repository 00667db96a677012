// A program as a user writes it, against the declarations that the package ships. It is compiled, never run.
import type { AddressInfo } from 'node:net';
import {
    Agent, CapabilityError, DispatchAuthVerifyError, MESH_DISPATCH_JWT_ISSUER, SvanticError, VERSION,
    extract_trace_context, parse_baggage, parse_traceparent, verify_dispatch_auth,
} from 'svantic';
import type {
    AgentConfig, CapabilityConfig, CapabilitySchema, CapabilitySessionContext, DispatchAuthContext,
    DispatchAuthVerifyErrorCode, ExtractedTraceContext, ParsedTraceparent, VerifierConfig,
} from 'svantic';
import { DEFAULT_SVANTIC_URL, MeshConnector, SDK_VERSION } from 'svantic/mesh';
import type { MeshConnectorConfig } from 'svantic/mesh';

const config: AgentConfig = { name: 'desk', description: 'A desk', version: '2.0.0', port: 3000 };
const agent = new Agent({ ...config, mesh: { svantic_url: DEFAULT_SVANTIC_URL, timeout_ms: 1_000 } });

// The handler says the type of its arguments …
agent.define_capability({
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: {
        type: 'object',
        properties: { order_id: { type: 'string' }, depth: { type: 'integer', minimum: 1, maximum: 9 } },
        required: ['order_id'],
        additionalProperties: false,
    },
    tags: ['orders'],
    handler: ({ order_id }: { order_id: string }) => ({ order_id, state: 'shipped' }),
});

// … or an interface, optional members and the context included …
interface Wish {
    city: string;
    guests?: number;
}
agent.define_capability({
    name: 'plan_evening',
    description: 'Plans.',
    parameters: { type: 'object', properties: { city: { type: 'string' }, guests: { type: 'integer' } } },
    handler: async ({ city, guests = 2 }: Wish, context) => {
        const deadline: number = context.time_left_ms;
        await fetch('http://localhost', { headers: context.propagation_headers, signal: context.signal });
        const tenant: string | undefined = context.tenant_id ?? undefined;
        return { city, guests, deadline, tenant, session: context.session_id };
    },
});

// … or a type argument …
agent.define_capability<{ item: string }>({
    name: 'count_items',
    description: 'Counts.',
    handler: ({ item }) => item.length,
});

// … or, as in programs that were written for the platform's package, nobody does.
agent.define_capability({
    name: 'look',
    description: 'Looks.',
    parameters: { type: 'object', properties: { path: { type: 'string', description: 'where' } } },
    handler: async (args, context) => {
        const path = args.path as string;
        const record: Record<string, unknown> = args;
        return { path, record, trace: context.parent_trace_id };
    },
});
agent.define_capability({
    name: 'list_orders',
    description: 'Lists.',
    handler: async (args: Record<string, unknown>, context: CapabilitySessionContext): Promise<unknown> => {
        return [args.limit, context.dispatch_id];
    },
});
agent.define_capability({ name: 'ping', description: 'Answers.', handler: () => 'pong' });
agent.define_capability({ name: 'forget', description: 'Says nothing.', handler: async () => {} });

// A handler or a whole capability can stand elsewhere.
const schema: CapabilitySchema = { type: 'object', properties: {}, required: [] };
const capability: CapabilityConfig<{ n: number }> = {
    name: 'double', description: 'Doubles.', parameters: schema, handler: async ({ n }) => n * 2,
};
agent.define_capability(capability);
const untyped: CapabilityConfig = {
    name: 'echo', description: 'Echoes.', parameters: schema, handler: async (args) => args,
};
agent.define_capability(untyped);

const pino_like = { level: 'info', info: (...parts: unknown[]) => {}, warn: (text: string) => {} };
const options: MeshConnectorConfig = {
    client_id: 'c',
    client_secret: 's',
    reconnect_delays_ms: [0, 1_000],
    allowed_connect_hosts: ['mesh.example'],
    dispatch_auth: { scheme: 'svantic_jwt', required: true },
    logger: pino_like,
};
const mesh = new MeshConnector(agent, options);
new MeshConnector(agent);
// What may be missing from the environment may be given as it is, also with exactOptionalPropertyTypes.
new MeshConnector(agent, { client_id: process.env.DESK_ID, client_secret: process.env['DESK_SECRET'] });
new MeshConnector(agent, { token_provider: async () => 'jwt', logger: console });
new MeshConnector(agent, { token_provider: () => 'jwt', logger: false });

const leaving = new AbortController();
await mesh.connect();
await mesh.connect({ timeout_ms: 5_000, signal: leaving.signal });
await mesh.connect({ signal: AbortSignal.timeout(5_000) });
const session_id: string = await mesh.create_session({ user_id: 'u1' }, { timeout_ms: 1 });
const another: string = await mesh.create_session();
await mesh.close_session(session_id);
await mesh.close_session(another, { signal: leaving.signal });
await mesh.refresh_token();
await mesh.refresh_token('jwt', { timeout_ms: 1 });
await mesh.re_register();

const token: string | undefined = mesh.token;
const texts: string[] = [mesh.svantic_url, mesh.deployment_mode, mesh.instance_id, mesh.agent.name];
type Way = 'connecting' | 'connected' | 'reconnecting' | 'draining' | 'blocked';
const state: Way | 'idle' | 'closed' | 'failed' = mesh.state;
const ready: boolean = mesh.connected && mesh.health.ready && mesh.health.live;
const reason: string | null = mesh.health.reason;
const link: 'disconnected' | 'connecting' | 'authenticating' | 'ready' | 'closing' | 'closed' =
    mesh.ws_transport.state;
mesh.network_changed();
mesh.unref();
mesh.ref();

// The payloads of events have their types, by name and in the union.
mesh.on('backoff', ({ delay_ms, attempt, cause }) => console.log(delay_ms + 1, attempt + 1, cause.length));
mesh.once('token_refreshed', ({ generation, expires_at }) => console.log(generation, expires_at));
mesh.on('state', ({ state: now, previous }) => console.log(now === 'connected', previous));
mesh.on('failed', ({ code, message }) => console.error(code, message));
mesh.on('event', ({ name, code, data }) => console.log(name, code, data));
mesh.off('token_expired', () => {});
for await (const event of mesh.events({ signal: leaving.signal })) {
    if (event.name === 'dispatch_cancelled') console.log(event.data.dispatch_id.length, event.data.reason);
    else if (event.name === 'result_dropped') console.log(event.data.dispatch_id);
}
for await (const { name } of mesh) console.log(name.toUpperCase());

await mesh.wait_closed();
await mesh.wait_closed({ signal: leaving.signal });
await mesh.disconnect({ timeout_ms: 1 });
await mesh.close();
{
    await using scoped = new MeshConnector(agent);
    await scoped.connect();
}

const started: MeshConnector = await agent.start({ handle_signals: false, signal: leaving.signal });
const held: MeshConnector | undefined = agent.connector;
await agent.stop();

try {
    throw new CapabilityError('no', { code: 'NO', cause: new Error('why') });
} catch (error) {
    if (error instanceof SvanticError) {
        const { code, status, status_code, retryable } = error;
        const refused: boolean = status === 'AUTH' || status === 'REMOTE';
        console.log(code.length, refused, status_code + 1, retryable === true, error.http_status?.toFixed());
    }
    if (error instanceof DispatchAuthVerifyError) {
        const code: DispatchAuthVerifyErrorCode = error.code;
        console.log(code === 'replayed');
    }
}

const verifier: VerifierConfig = { instance_id: 'box-7', signing_secret: 's', clock_skew_s: 5 };
const verified: DispatchAuthContext = verify_dispatch_auth({ skill_id: 'look', args: {} }, verifier);
const parsed: ParsedTraceparent | null = parse_traceparent(undefined);
const baggage: Record<string, string> = parse_baggage('a=b');
const extracted: ExtractedTraceContext = extract_trace_context({ traceparent: 'x' }, { baggage: 'a=b' });
const version: string = VERSION + SDK_VERSION + MESH_DISPATCH_JWT_ISSUER;

export type Used = AddressInfo;
export { baggage, extracted, held, link, parsed, verified };
export { ready, reason, started, state, texts, token, version };
