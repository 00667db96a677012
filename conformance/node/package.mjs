// The package of the checkout, as its "exports" give it to a program: there is nothing to install beside a driver.

import { createRequire } from 'node:module';

/** Resolves what a file of the package itself could. */
export const require_from_package = createRequire(new URL('../../bindings/node/package.json', import.meta.url));

export const { Agent, CapabilityError, SvanticError } = require_from_package('svantic');
export const { MeshConnector } = require_from_package('svantic/mesh');
