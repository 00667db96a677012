// The official client of A2A 0.3, @a2a-js/sdk 0.3.x: `node_0_3.mjs URL`.
import { randomUUID } from 'node:crypto';
import { ClientFactory } from 'a2a-0.3/client';
import { check, code_in, outcome_of_data, Run, version_of, ways_of } from './check.mjs';

const [url] = process.argv.slice(2);

function part({ data, text, url: uri }) {
    if (data) return { kind: 'data', data };
    return uri ? { kind: 'file', file: { uri } } : { kind: 'text', text };
}

function request(parts) {
    const message = { kind: 'message', messageId: `m-${randomUUID()}`, contextId: 'c-1', role: 'user' };
    return { message: { ...message, parts: parts.map(part) } };
}

function outcome_of(answer) {
    const task = answer.kind === 'task';
    const message = task ? answer.status.message : answer;
    check(message.kind === 'message' && message.role === 'agent' && message.contextId === 'c-1', answer);
    const found = outcome_of_data(message.parts.at(-1).data);
    if (task) {
        check(answer.status.state === 'failed' && answer.contextId === 'c-1', answer);
        check(answer.id && message.taskId === answer.id, answer);
        check(message.parts[0].text === found.failed.message, answer);
    }
    return found;
}

// What a stream is refused with is left of it in a text only.
function refusal(error) {
    const envelope = error.errorResponse?.error;
    if (envelope) return { error: envelope.code, ...code_in(envelope.data) };
    const [, code, data] = / \(Code: (-\d+)\)(?: Data: (\{.*\}))?$/.exec(error.message) ?? [];
    if (code === undefined) throw error;
    return { error: Number(code), ...code_in(data && JSON.parse(data)) };
}

const client = await new ClientFactory().createFromUrl(url);
const run = new Run(`Node @a2a-js/sdk ${version_of('a2a-0.3')} in A2A 0.3`);
const ask = (play, parts) => play(request(parts)).catch(refusal);
await run.expect_cases(ways_of(client, outcome_of), ask);
run.end();
