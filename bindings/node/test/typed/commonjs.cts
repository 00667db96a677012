// A CommonJS program: both ways in which TypeScript writes `require`. It is compiled, never run.
import { Agent } from 'svantic';
import mesh = require('svantic/mesh');
import svantic = require('svantic');

const agent: Agent = new svantic.Agent({ name: 'desk', description: 'A desk' });
agent.define_capability({
    name: 'look',
    description: 'Looks.',
    handler: async ({ where }: { where: string }) => where.length,
});
const connector = new mesh.MeshConnector(agent, { timeout_ms: 1 });
connector.connect().then(() => connector.close(), (error: unknown) => {
    if (error instanceof mesh.SvanticError) console.error(error.code);
});
