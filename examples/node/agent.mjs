// An order desk on the Svantic mesh. Ctrl-C or SIGTERM lets running calls finish and ends it.
import { Agent, CapabilityError } from 'svantic';

const agent = new Agent({ name: 'order-desk', description: 'Knows every order' });

agent.define_capability({
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
    handler: async ({ order_id }) => {
        if (order_id !== 'A17') throw new CapabilityError('no such order');
        return { order_id, state: 'shipped' };
    },
});

await agent.start(); // SVANTIC_URL, SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET
