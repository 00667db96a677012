// The names of `svantic/mesh`.
import { library } from './library';

export { MeshConnector } from './connector';
export type { MeshEventMap } from './connector';
export { SvanticError } from './errors';
export type { ErrorFields, SvanticErrorOptions, SvanticStatus } from './errors';
export type { EventStream, MeshEvent, MeshEventName, MeshEvents } from './events';
export type { Logger } from './logger';
export type { ConnectorState } from './native_mesh';
export type { MeshConnectorConfig } from './options';
export type { OperationOptions } from './session';
export type { Health, MeshSnapshot, MeshTransport, WsTransportState } from './snapshot';

/** Where the mesh is when nothing says otherwise. */
export const DEFAULT_SVANTIC_URL = 'https://api.svantic.com';

/** The version of this package, which the mesh is told. */
export const SDK_VERSION: string = library().version();
