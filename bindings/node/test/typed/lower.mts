// The lower parts, as programs for the platform's package use them. It is compiled, never run.
import { MeshAuth, RegistrationClient, SvanticError, WsTransport } from 'svantic/mesh';
import type {
    RegistrationReply, RegistrationRequest, WebSocketFactory, WebSocketLike, WsFrame, WsTransportOptions,
    WsTransportState,
} from 'svantic/mesh';

const credentials = { client_id: 'c', client_secret: 's', agent_type: 'desk', expires_in: 60 };
const token: string = await MeshAuth.get_token('http://127.0.0.1:1', credentials);
await MeshAuth.get_token('http://127.0.0.1:1', { client_id: 'c', client_secret: 's', agent_type: 'desk' });

const client = new RegistrationClient({
    svantic_url: 'http://127.0.0.1:1',
    auth_headers: () => ({ Authorization: `Bearer ${token}` }),
});
new RegistrationClient({ svantic_url: 'x', auth_headers: async () => ({ Authorization: 'Bearer x' }) });
const request: RegistrationRequest = {
    agent_type: 'desk', instance_id: 'desk-1', deployment_mode: 'connected', agent_card: { name: 'desk' },
};
const reply: RegistrationReply = await client.register(request);
const connect_url: string = reply.connect_url ?? '';
await client.deregister({ agent_type: 'desk', instance_id: 'desk-1' });

const options: WsTransportOptions = {
    connect_url,
    token_provider: async () => token,
    hello: {
        instance_id: 'desk-1',
        agent_type: 'desk',
        agent_version: '1.0.0',
        sdk_version: '1.8.3',
        agent_card: { name: 'desk' },
    },
    welcome_timeout_ms: 100,
    auto_reconnect: false,
    reconnect_delays_ms: [1, 2],
};
const transport = new WsTransport(options);
const told = (frame: WsFrame): void => console.log(frame.type, frame.payload);
const unsubscribe: () => void = transport.on_frame(told);
await transport.connect();
transport.send({ v: 1, type: 'heartbeat', id: '1', ts: '2026-01-01T00:00:00.000Z', payload: {} });
const state: WsTransportState = transport.state;
transport.unref();
unsubscribe();
await transport.close(1000, 'done');
await transport.close();

class Double implements WebSocketLike {
    readyState = 0;
    send(data: string): void {
        console.log(data.length);
    }
    close(code?: number, reason?: string): void {
        console.log(code, reason);
    }
    on(event: 'open' | 'message' | 'close' | 'error', listener: (...args: any[]) => void): void {
        console.log(event, listener.length);
    }
}
const socket_factory: WebSocketFactory = (url, headers) => {
    console.log(url.length, headers.Authorization?.length);
    return new Double();
};
new WsTransport({ ...options, socket_factory, uuid_impl: () => 'id', now_iso: () => 'now', logger: false });

export { SvanticError, state };
