// The root names of the package `svantic`.
export { Agent } from './agent';
export type { AgentConfig, AgentFetch, StartOptions } from './agent';
export { attach } from './attach';
export type { AgentHandle, AttachConfig } from './attach';
export type {
    Capability,
    CapabilityArgs,
    CapabilityConfig,
    CapabilityHandler,
    CapabilitySchema,
} from './capability';
export type { CapabilitySessionContext } from './context';
export { DispatchAuthVerifyError, MESH_DISPATCH_JWT_ISSUER, verify_dispatch_auth } from './dispatch_auth';
export type {
    DispatchAuthContext,
    DispatchAuthScheme,
    DispatchAuthVerifyErrorCode,
    VerifierConfig,
} from './dispatch_auth';
export { CapabilityError, SvanticError } from './errors';
export type { CapabilityErrorOptions, SvanticErrorOptions, SvanticStatus } from './errors';
export type { AgentApp } from './hosted/express';
export type { AgentRequestListener } from './hosted/node_http';
export type { Logger } from './logger';
export { extract_trace_context, parse_baggage, parse_traceparent } from './trace';
export type { ExtractedTraceContext, ParsedTraceparent, TraceHeaders } from './trace';
export { VERSION } from './version';
