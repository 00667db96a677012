// The root names of the package `svantic`.
import { library } from './library';

export { CapabilityError, SvanticError } from './errors';
export type { CapabilityErrorOptions, SvanticErrorOptions, SvanticStatus } from './errors';

/** The version of the loaded library, which is this package's own. */
export const VERSION: string = library().version();
