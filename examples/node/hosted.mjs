// The order desk under a URL of its own: the mesh POSTs its calls, and the library's server answers them.
//
// It takes SVANTIC_URL, SVANTIC_CLIENT_ID, SVANTIC_CLIENT_SECRET, and SVANTIC_DISPATCH_SECRET, without which
// it cannot tell the mesh's calls from anybody's. PUBLIC_URL is where the mesh reaches LISTEN. Ctrl-C or
// SIGTERM lets running calls finish and ends it.
import { Agent, CapabilityError } from 'svantic';

const { PUBLIC_URL: public_url, LISTEN: listen = '127.0.0.1:8080' } = process.env;
const agent = new Agent({ name: 'order-desk', description: 'Knows every order', public_url });

agent.define_capability({
    name: 'find_order',
    description: 'Says where an order is.',
    parameters: { type: 'object', properties: { order_id: { type: 'string' } }, required: ['order_id'] },
    handler: async ({ order_id }) => {
        if (order_id !== 'A17') throw new CapabilityError('no such order');
        return { order_id, state: 'shipped' };
    },
});

const mesh = await agent.start({ listen });
console.log(`listening on ${mesh.snapshot().listening}`);
