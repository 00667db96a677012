// The names of `svantic/mesh`.
export { MeshConnector } from './connector';
export type { MeshEventMap } from './connector';
export { SvanticError } from './errors';
export type { ErrorFields, SvanticErrorOptions, SvanticStatus } from './errors';
export type { EventStream, MeshEvent, MeshEventName, MeshEvents } from './events';
export type { Logger } from './logger';
export type { EventTargetSocketLike, WebSocketLike } from './lower/foreign_socket';
export { MeshAuth } from './lower/mesh_auth';
export type { TokenCredentials } from './lower/mesh_auth';
export { RegistrationClient } from './lower/registration_client';
export type {
    AuthHeaders,
    DispatchAuthRequest,
    RegistrationClientOptions,
    RegistrationReply,
    RegistrationRequest,
} from './lower/registration_client';
export type { NetworkOptions } from './lower/single_call';
export type { SocketFactory, WebSocketFactory, WsHello, WsTransportOptions } from './lower/transport_options';
export { WsTransport } from './lower/ws_transport';
export type { WsFrame, WsTransportEvents } from './lower/ws_transport';
export type { ConnectorState } from './native_mesh';
export type { DeploymentMode, MeshConnectorConfig } from './options';
export type { OperationOptions } from './operation';
export { VERSION as SDK_VERSION } from './version';
export type { Health, MeshSnapshot, MeshTransport, WsTransportState } from './snapshot';

/** Where the mesh is when nothing says otherwise. */
export const DEFAULT_SVANTIC_URL = 'https://api.svantic.com';
