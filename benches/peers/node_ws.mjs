// What a Node program does without this library: `node_ws.mjs PORT`, on `ws` as the platform's own SDK is. It answers, and
// keeps no promise besides: no token, no registration, no reconnect, no answer twice over a lost connection.
import { randomUUID } from 'node:crypto';
import { WebSocket } from 'ws';

const handlers = new Map([['echo', async (args) => args]]);
const socket = new WebSocket(`ws://127.0.0.1:${process.argv[2]}/agents/connect?instance_id=node`, ['svantic.v1'], {
    headers: { Authorization: 'Bearer bench' },
});

function send(type, payload, in_reply_to) {
    const ts = new Date().toISOString();
    socket.send(JSON.stringify({ v: 1, type, id: randomUUID(), ts, in_reply_to, payload }));
}

socket.on('open', () => {
    send('hello', {
        instance_id: 'node',
        agent_type: 'bench',
        agent_version: '1.0.0',
        sdk_version: 'ws',
        agent_card: {},
    });
});
socket.on('message', async (data) => {
    const frame = JSON.parse(data.toString());
    if (frame.type !== 'dispatch') return;
    const { skill_id, args, session_context } = frame.payload;
    const handler = handlers.get(skill_id);
    if (handler) {
        send('dispatch_result', { result: await handler(args, session_context) }, frame.id);
    } else {
        send('error', { code: 'UNKNOWN_SKILL', message: skill_id }, frame.id);
    }
});
