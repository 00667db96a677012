// The package of the checkout, as its "exports" give it to a program: there is nothing to install beside a
// driver.

import { createRequire } from 'node:module';

const require = createRequire(new URL('../../bindings/node/package.json', import.meta.url));

export const { Agent, CapabilityError, SvanticError } = require('svantic');
export const { MeshConnector } = require('svantic/mesh');

// The parts that are not a program's.

/** Where the package meets the library. */
export const { library } = require('./dist/library.js');

/** The options that are an agent's; others are a connector's. */
export const { IDENTITY_KEYS } = require('./dist/identity.js');
