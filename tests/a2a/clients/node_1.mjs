// The official client, @a2a-js/sdk 1.x: `node_1.mjs URL 1.0`, or with 0.3 as it talks to agents of that
// version.
import { randomUUID } from 'node:crypto';
import {
    ClientFactory,
    ClientFactoryOptions,
    DefaultAgentCardResolver,
    JsonRpcTransportFactory,
} from 'a2a-1/client';
import { check, code_in, FIND, outcome_of_data, Run, SECRET, version_of, ways_of } from './check.mjs';

const [url, wire] = process.argv.slice(2);
const [ROLE_USER, ROLE_AGENT, TASK_STATE_FAILED] = [1, 2, 4];

function part(wanted) {
    const [[name, value]] = Object.entries(wanted);
    return { content: { $case: name, value }, metadata: undefined, filename: '', mediaType: '' };
}

function request(parts, configuration) {
    const message = {
        messageId: `m-${randomUUID()}`,
        contextId: 'c-1',
        taskId: '',
        role: ROLE_USER,
        parts: parts.map(part),
        metadata: undefined,
        extensions: [],
        referenceTaskIds: [],
    };
    return { tenant: '', configuration, metadata: undefined, message };
}

function outcome_of(answer) {
    const task = 'status' in answer;
    const message = task ? answer.status.message : answer;
    check(message.role === ROLE_AGENT && message.contextId === 'c-1' && message.messageId !== '', answer);
    const found = outcome_of_data(message.parts.at(-1).content.value);
    if (task) {
        check(answer.status.state === TASK_STATE_FAILED && answer.contextId === 'c-1', answer);
        check(answer.id !== '' && message.taskId === answer.id, answer);
        check(message.parts[0].content.value === found.failed.message, answer);
    }
    return found;
}

// An error in a stream is the cause of another.
function refusal(error) {
    const envelope = error.envelopeCode === undefined ? error.cause : error;
    if (envelope?.envelopeCode === undefined) throw error;
    check(envelope.message !== '', envelope);
    return { error: envelope.envelopeCode, ...code_in(envelope.data) };
}

const legacyCompat = { enabled: wire === '0.3' };
const cardResolver = new DefaultAgentCardResolver({ legacyCompat });
const transports = [new JsonRpcTransportFactory({ legacyCompat })];
const factory = new ClientFactory(
    ClientFactoryOptions.createFrom(ClientFactoryOptions.default, { transports, cardResolver }),
);
const card = await cardResolver.resolve(url);
check(card.capabilities.streaming && card.supportedInterfaces.length === 2, card);
check(card.skills.some(({ id }) => id === 'find_order'), card);
if (wire === '0.3') {
    const is_wanted = ({ protocolVersion }) => protocolVersion === wire;
    card.supportedInterfaces = card.supportedInterfaces.filter(is_wanted);
}
const client = await factory.createFromAgentCard(card);
check(client.protocolVersion === wire, client.protocolVersion);

const ways = ways_of(client, outcome_of, (event) => event.payload.value);

const run = new Run(`Node @a2a-js/sdk ${version_of('a2a-1')} in A2A ${wire}`);
const ask = (play, parts, configuration) => play(request(parts, configuration)).catch(refusal);
await run.expect_cases(ways, ask);
if (SECRET === undefined) {
    const push = { acceptedOutputModes: [], taskPushNotificationConfig: { url: 'http://127.0.0.1:9/' } };
    for (const [how, play] of Object.entries(ways)) {
        const called_back = () => ask(play, [FIND], push);
        await run.expect(`nobody is called back (${how})`, called_back, { error: -32003 });
    }
    const get_task = () => client.getTask({ tenant: '', id: 't-1' }).catch(refusal);
    await run.expect('no tasks are kept', get_task, { error: -32001 });
}
run.end();
