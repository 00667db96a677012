// Sockets as tests of programs play them, and transports over them.
import { EventEmitter } from 'node:events';
import { WsTransport } from 'svantic/mesh';

export const NOW = '2026-05-01T08:00:00.000Z';
export const frame = (type, payload = {}, more = {}) => ({
    v: 1,
    type,
    id: `${type}-1`,
    ts: NOW,
    payload,
    ...more,
});
export const WELCOME = frame('welcome', { resumed: false, server_time: NOW });
export const HELLO = {
    instance_id: 'desk-1',
    agent_type: 'desk',
    agent_version: '1.0.0',
    sdk_version: '0.1.0',
    agent_card: { name: 'desk' },
};

/** A socket in the style of `ws`, as tests of programs have them. */
export class Double extends EventEmitter {
    readyState = 0;
    sent = [];
    closed_with = [];

    constructor(url, headers) {
        super();
        Object.assign(this, { url, headers });
    }

    send(data) {
        this.sent.push(data);
    }

    close(...how) {
        this.closed_with.push(how);
        this.readyState = 3;
        this.emit('close', 1000, 'closed');
    }

    open() {
        this.readyState = 1;
        this.emit('open');
    }

    push(value) {
        this.emit('message', typeof value === 'string' ? value : JSON.stringify(value));
    }

    get frames() {
        return this.sent.map((text) => JSON.parse(text));
    }
}

/** A transport over doubles; `on_socket` is told of each one that it asks for. */
export function transport_over(t, on_socket, options = {}) {
    const sockets = [];
    const transport = new WsTransport({
        connect_url: 'wss://mesh.test/agents/connect',
        token_provider: () => 'tok',
        hello: HELLO,
        logger: false,
        auto_reconnect: false,
        socket_factory: (url, headers) => {
            const socket = new Double(url, headers);
            sockets.push(socket);
            on_socket?.(socket, sockets.length);
            return socket;
        },
        ...options,
    });
    t.after(() => transport.close());
    return { transport, sockets };
}

/** One that opens and welcomes by itself. */
export const welcoming = (socket) =>
    queueMicrotask(() => {
        socket.open();
        socket.push(WELCOME);
    });
