// A program as users of the platform's SDK 1.8.3 write them; only the names of the imported packages were
// changed (`@svantic/sdk` and `@svantic/sdk/mesh`). It uses every name of protocol.md 9. Compiled as
// ECMAScript module and as CommonJS by drop_in.test.mjs, which plays the people around it: it reads the lines
// and answers some.
import assert from 'node:assert';
import { createHmac, randomUUID } from 'node:crypto';
import { EventEmitter } from 'node:events';
import { createInterface } from 'node:readline';
import {
    Agent,
    DispatchAuthVerifyError,
    MESH_DISPATCH_JWT_ISSUER,
    extract_trace_context,
    parse_baggage,
    parse_traceparent,
    verify_dispatch_auth,
    type AgentConfig,
    type CapabilityConfig,
    type CapabilitySchema,
    type CapabilitySessionContext,
    type DispatchAuthContext,
    type DispatchAuthVerifyErrorCode,
    type ExtractedTraceContext,
    type ParsedTraceparent,
    type VerifierConfig,
} from 'svantic';
import {
    DEFAULT_SVANTIC_URL,
    MeshAuth,
    MeshConnector,
    RegistrationClient,
    SDK_VERSION,
    WsTransport,
    type MeshConnectorConfig,
    type WebSocketFactory,
    type WsTransportState,
} from 'svantic/mesh';

const svantic_url = process.env.SVANTIC_URL ?? DEFAULT_SVANTIC_URL;
const client_id = process.env.SVANTIC_CLIENT_ID ?? '';
const client_secret = process.env.SVANTIC_CLIENT_SECRET ?? '';

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

/** Says where the program is, and waits until it is told to go on. */
async function report(what: string, ...more: string[]): Promise<void> {
    console.log([what, ...more].join(' '));
    await lines.next();
}

// ---- an agent over the connector ----

const order_schema: CapabilitySchema = {
    type: 'object',
    properties: { order_id: { type: 'string' } },
    required: ['order_id'],
};

const find_order: CapabilityConfig = {
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: order_schema,
    tags: ['orders'],
    handler: async (args, context: CapabilitySessionContext) => {
        if (args.order_id !== 'A17') throw new Error('no such order');
        return {
            order_id: args.order_id,
            state: 'shipped',
            seen: {
                session_id: context.session_id,
                tenant_id: context.tenant_id,
                traceparent: context.traceparent,
                parent_trace_id: context.parent_trace_id,
                parent_span_id: context.parent_span_id,
                baggage: context.baggage,
                propagation_headers: context.propagation_headers,
            },
        };
    },
};

async function run_agent(): Promise<void> {
    const who: AgentConfig = {
        name: 'order-desk',
        description: 'Knows every order',
        version: '2.0.0',
        agent_type: 'order-desk',
        instance_id: 'drop-in-agent',
        context: { region: 'eu' },
        max_concurrent_sessions: 10,
    };
    const agent = new Agent(who);
    agent.define_capability(find_order);
    const config: MeshConnectorConfig = { svantic_url, client_id, client_secret };
    const mesh = new MeshConnector(agent, config);
    assert.strictEqual(mesh.connected, false);
    await mesh.connect();
    assert.strictEqual(mesh.connected, true);
    assert.strictEqual(mesh.agent, agent);
    assert.strictEqual(mesh.svantic_url, svantic_url);
    assert.strictEqual(mesh.deployment_mode, 'connected');
    assert.strictEqual(mesh.ws_transport?.state, 'ready');
    const first_token = mesh.token;
    assert.ok(first_token);

    agent.define_capability({
        name: 'cancel_order',
        description: 'Cancels an order.',
        handler: async ({ order_id }: { order_id?: string }) => ({ cancelled: order_id }),
    });
    await mesh.re_register();
    await mesh.refresh_token();
    assert.notStrictEqual(mesh.token, undefined);
    const mine = await MeshAuth.get_token(svantic_url, {
        client_id,
        client_secret,
        agent_type: 'order-desk',
    });
    await mesh.refresh_token(mine);
    assert.strictEqual(mesh.token, mine);
    const session = await mesh.create_session({ user_id: 'u1' });
    await mesh.close_session(session);

    await report('agent', 'drop-in-agent');
    await mesh.disconnect();
    assert.strictEqual(mesh.connected, false);
}

// ---- a hub that speaks the protocol itself ----

/** What the hub needs of a socket; its tests have doubles of it. */
interface Hub_socket {
    readonly readyState: number;
    send(data: string): void;
    close(code?: number, reason?: string): void;
    on(event: 'open', handler: () => void): void;
    on(event: 'message', handler: (data: unknown) => void): void;
    on(event: 'close', handler: (code?: number, reason?: unknown) => void): void;
    on(event: 'error', handler: (err: Error) => void): void;
}

interface Hub_options {
    connect_url: string;
    instance_id: string;
    token: () => string;
    serve: (skill_id: string, args: Record<string, unknown>) => Promise<unknown>;
    socket_factory?: (url: string, headers: Record<string, string>) => Hub_socket;
    reconnect_delays_ms?: readonly number[];
    auto_reconnect?: boolean;
    uuid?: () => string;
    now?: () => string;
}

class Hub {
    readonly states: WsTransportState[] = [];
    readonly transport: WsTransport;
    private readonly _serve: Hub_options['serve'];
    private readonly _uuid: () => string;
    private _heartbeat: NodeJS.Timeout | null = null;
    private _off: (() => void) | null = null;

    constructor(options: Hub_options) {
        const factory: WebSocketFactory | undefined = options.socket_factory
            ? (url, headers) => options.socket_factory!(url, headers)
            : undefined;
        this._serve = options.serve;
        this._uuid = options.uuid ?? randomUUID;
        this.transport = new WsTransport({
            connect_url: options.connect_url,
            token_provider: options.token,
            hello: {
                instance_id: options.instance_id,
                agent_type: 'hub',
                agent_version: '1.0.0',
                sdk_version: SDK_VERSION,
                agent_card: { name: 'hub' },
            },
            welcome_timeout_ms: 10_000,
            auto_reconnect: options.auto_reconnect ?? true,
            ...(options.reconnect_delays_ms ? { reconnect_delays_ms: options.reconnect_delays_ms } : {}),
            ...(factory ? { socket_factory: factory } : {}),
            ...(options.uuid ? { uuid_impl: options.uuid } : {}),
            ...(options.now ? { now_iso: options.now } : {}),
        });
    }

    async open(): Promise<void> {
        this._off?.();
        this._off = this.transport.on_frame((frame) => {
            this.states.push(this.transport.state);
            if (frame.type === 'dispatch') void this._answer(frame);
        });
        await this.transport.connect();
        this.states.push(this.transport.state);
        this._heartbeat = setInterval(() => this.beat(), 30_000);
        this._heartbeat.unref();
    }

    beat(): void {
        if (this.transport.state !== 'ready') return;
        this._send('heartbeat', { status: 'available', current_sessions: 0 });
    }

    async close(): Promise<void> {
        if (this._heartbeat) clearInterval(this._heartbeat);
        this._off?.();
        await this.transport.close(1000, 'client_close');
        this.states.push(this.transport.state);
    }

    private async _answer(frame: { id: string; payload: Record<string, unknown> }): Promise<void> {
        const { skill_id, args } = frame.payload;
        try {
            const result = await this._serve(String(skill_id), (args ?? {}) as Record<string, unknown>);
            this._send('dispatch_result', { result }, frame.id);
        } catch (err) {
            const message = err instanceof Error ? err.message : String(err);
            this._send('error', { code: 'HANDLER_ERROR', message }, frame.id);
        }
    }

    private _send(type: string, payload: Record<string, unknown>, in_reply_to?: string): void {
        this.transport.send({
            v: 1,
            type,
            id: this._uuid(),
            ts: new Date().toISOString(),
            ...(in_reply_to ? { in_reply_to } : {}),
            payload,
        });
    }
}

async function run_hub(): Promise<void> {
    const instance_id = 'drop-in-hub';
    const token = await MeshAuth.get_token(svantic_url, { client_id, client_secret, agent_type: 'hub' });
    const client = new RegistrationClient({
        svantic_url,
        auth_headers: () => ({ Authorization: `Bearer ${token}` }),
    });
    const hosted = await client.register({
        agent_type: 'hub',
        instance_id: 'drop-in-hosted',
        deployment_mode: 'hosted',
        url: 'https://hub.example/a2a',
        agent_card: { name: 'hub' },
        dispatch_auth: { scheme: 'svantic_jwt', required: true },
    });
    assert.deepStrictEqual(hosted.dispatch_auth, { scheme: 'svantic_jwt', required: true });
    const registered = await client.register({
        agent_type: 'hub',
        instance_id,
        deployment_mode: 'connected',
    });
    if (!registered.connect_url) throw new Error('no connect_url');

    const hub = new Hub({
        connect_url: registered.connect_url,
        instance_id,
        token: () => token,
        reconnect_delays_ms: [0],
        serve: async (skill_id, args) => {
            if (skill_id === 'fail') throw new Error('boom');
            return { skill_id, args };
        },
    });
    await hub.open();
    hub.beat();
    await report('hub', instance_id);
    assert.strictEqual(hub.states[0], 'ready');
    await hub.close();
    assert.strictEqual(hub.transport.state, 'closed');
    await report('hub-closed');
}

// ---- the hub's own tests, over doubles ----

const NOW = '2026-05-01T08:00:00.000Z';

class Double extends EventEmitter implements Hub_socket {
    readyState = 0;
    sent: string[] = [];

    constructor(private readonly _on_sent?: (double: Double, type: string) => void) {
        super();
    }

    send(data: string): void {
        this.sent.push(data);
        this._on_sent?.(this, (JSON.parse(data) as { type: string }).type);
    }

    close(): void {
        this.readyState = 3;
        this.emit('close', 1000, 'closed');
    }

    open_now(): void {
        this.readyState = 1;
        this.emit('open');
    }

    push(type: string, payload: Record<string, unknown> = {}, id = `${type}-1`): void {
        this.emit('message', JSON.stringify({ v: 1, type, id, ts: NOW, payload }));
    }
}

/** A hub over doubles, each of which opens in a microtask. */
function hub_over(opened: (double: Double) => void, on_sent?: (double: Double, type: string) => void) {
    const doubles: Double[] = [];
    let count = 0;
    const hub = new Hub({
        connect_url: 'wss://mesh.test/agents/connect',
        instance_id: 'double',
        token: () => 'tok',
        auto_reconnect: false,
        uuid: () => `id-${(count += 1)}`,
        now: () => NOW,
        serve: async () => 'served',
        socket_factory: (url, headers) => {
            assert.strictEqual(url, 'wss://mesh.test/agents/connect?instance_id=double');
            assert.strictEqual(headers.Authorization, 'Bearer tok');
            const double = new Double(on_sent);
            doubles.push(double);
            queueMicrotask(() => {
                double.open_now();
                opened(double);
            });
            return double;
        },
    });
    return { hub, doubles };
}

/** Waits as the test runners' `waitFor` does. */
async function eventually(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((resolve) => setImmediate(resolve));
}

async function run_doubles(): Promise<void> {
    // The welcome comes right behind 'open', whatever the double has seen by then.
    const eager = hub_over((double) => double.push('welcome'));
    await eager.hub.open();
    const [socket] = eager.doubles;
    assert.ok(socket);
    assert.deepStrictEqual(JSON.parse(socket.sent[0] ?? ''), {
        v: 1,
        type: 'hello',
        id: 'id-1',
        ts: NOW,
        payload: {
            instance_id: 'double',
            agent_type: 'hub',
            agent_version: '1.0.0',
            sdk_version: SDK_VERSION,
            agent_card: { name: 'hub' },
        },
    });
    // What is sent is looked at right behind the call.
    const before = socket.sent.length;
    eager.hub.beat();
    assert.strictEqual(socket.sent.length, before + 1);
    socket.push('dispatch', { skill_id: 'x' }, 'd1');
    await eventually(() => socket.sent.length === before + 2);
    const answer = JSON.parse(socket.sent[before + 1] ?? '') as { type: string; in_reply_to: string };
    assert.deepStrictEqual([answer.type, answer.in_reply_to], ['dispatch_result', 'd1']);
    // close() of the double emits 'close' from inside.
    await eager.hub.close();
    assert.deepStrictEqual([eager.hub.transport.state, socket.readyState], ['closed', 3]);

    // The welcome is pushed in a microtask from inside send(hello).
    const polite = hub_over(
        () => {},
        (double, type) => {
            if (type === 'hello') queueMicrotask(() => double.push('welcome'));
        },
    );
    await polite.hub.open();
    assert.strictEqual(polite.hub.transport.state, 'ready');
    await polite.hub.close();

    // The test waits for the open double, and pushes the welcome itself.
    const slow = hub_over(() => {});
    const opening = slow.hub.open();
    await eventually(() => slow.doubles[0]?.readyState === 1);
    slow.doubles[0]?.push('welcome');
    await opening;
    // The link is lost: without auto_reconnect it is disconnected.
    slow.doubles[0]?.close();
    assert.strictEqual(slow.hub.transport.state, 'disconnected');
    await slow.hub.close();
}

// ---- dispatches that arrive at the program's own server ----

function run_verification(): void {
    const signing_secret = 'a signing secret';
    const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url');
    const signed = (dispatch_id: string) => {
        const text = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({
            iss: MESH_DISPATCH_JWT_ISSUER,
            aud: 'agent:i1',
            tenant_id: 't1',
            agent_type: 'hub',
            instance_id: 'i1',
            dispatch_id,
            exp: Math.floor(Date.now() / 1000) + 60,
        })}`;
        return `${text}.${createHmac('sha256', signing_secret).update(text).digest('base64url')}`;
    };
    const data: Record<string, unknown> = {
        skill_id: 'x',
        svantic_auth: {
            scheme: 'svantic_jwt',
            token: signed(randomUUID()),
            expires_at: Date.now() / 1000 + 60,
        },
    };
    const config: VerifierConfig = { instance_id: 'i1', signing_secret };
    const context: DispatchAuthContext = verify_dispatch_auth(data, config);
    assert.deepStrictEqual([context.tenant_id, context.agent_type, context.instance_id], ['t1', 'hub', 'i1']);
    let code: DispatchAuthVerifyErrorCode | undefined;
    try {
        verify_dispatch_auth(data, config);
    } catch (err) {
        if (err instanceof DispatchAuthVerifyError) code = err.code;
    }
    assert.strictEqual(code, 'replayed');

    const raw = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01';
    const parsed: ParsedTraceparent | null = parse_traceparent(raw);
    assert.ok(parsed?.sampled);
    assert.strictEqual(parse_traceparent(undefined), null);
    assert.deepStrictEqual(parse_baggage('tier=gold'), { tier: 'gold' });
    const extracted: ExtractedTraceContext = extract_trace_context(
        { traceparent: raw },
        { baggage: 'tier=gold' },
    );
    assert.strictEqual(extracted.parent_trace_id, parsed.trace_id);
    assert.deepStrictEqual(extracted.baggage, { tier: 'gold' });
}

async function main(): Promise<void> {
    assert.strictEqual(DEFAULT_SVANTIC_URL, 'https://api.svantic.com');
    run_verification();
    await run_doubles();
    await run_agent();
    await run_hub();
    console.log('done');
}

main().then(
    () => process.stdin.destroy(),
    (err: unknown) => {
        console.error(err);
        process.exitCode = 1;
        process.stdin.destroy();
    },
);
