// Transports to a real gateway, for tests.
import { RegistrationClient, SDK_VERSION, WsTransport } from 'svantic/mesh';

/** What a transport says of itself beside its instance id. */
export const HELLO = {
    agent_type: 'desk',
    agent_version: '1.2.3',
    sdk_version: SDK_VERSION,
    agent_card: { name: 'desk' },
};
let number = 0;

/** A registered instance and a transport for it, which is not connected yet and ends with the test. */
export async function transport_to(test, gateway, options = {}) {
    const instance_id = `desk-${process.pid}-${(number += 1)}`;
    const jwt = await gateway.issue_token('desk');
    const client = new RegistrationClient({
        svantic_url: gateway.url,
        auth_headers: () => ({ Authorization: `Bearer ${jwt}` }),
    });
    const { connect_url } = await client.register({
        agent_type: 'desk',
        instance_id,
        deployment_mode: 'connected',
    });
    const transport = new WsTransport({
        connect_url,
        token_provider: () => jwt,
        hello: { instance_id, ...HELLO },
        logger: false,
        ...options,
    });
    test.after(() => transport.close());
    return { transport, instance_id, jwt };
}
