// The root names of the package `svantic`.
export { Agent } from './agent';
export type { AgentConfig, StartOptions } from './agent';
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
export type { Logger } from './logger';
export { extract_trace_context, parse_baggage, parse_traceparent } from './trace';
export type { ExtractedTraceContext, ParsedTraceparent, TraceHeaders } from './trace';
export { VERSION } from './version';
