// The names of `svantic/mesh`.
export { SvanticError } from './errors';
export type { SvanticErrorOptions, SvanticStatus } from './errors';
