/**
 * The public face of Sluice.
 *
 * ```ts
 * SocksServer.layer({ listen: [address] }).pipe(Layer.provide(SocksServer.defaults))
 * ```
 *
 * serves SOCKS5; provide layers of your own for `Authenticator`, `AccessPolicy`,
 * `Resolver`, `Dialer`, `ConnectionLog` or `Transport` before the defaults.
 */
export { AccessDenied, AccessPolicy, type AccessRequest } from "./policy/AccessPolicy.ts"
export { AuthenticationFailed, Authenticator, type Credentials } from "./policy/Authenticator.ts"
export * as InternalNetworks from "./policy/InternalNetworks.ts"
export * as PasswordHash from "./policy/PasswordHash.ts"
export * as Users from "./policy/Users.ts"
export * as UsersFile from "./policy/UsersFile.ts"
export { ConnectionLog, type ConnectionRecord } from "./server/ConnectionLog.ts"
export { Sessions } from "./server/Sessions.ts"
export { type Phase, type SessionInfo } from "./server/SessionState.ts"
export { type Options, SocksServer } from "./server/SocksServer.ts"
export { type Connection, ConnectionError } from "./transport/Connection.ts"
export { type Dialed, Dialer } from "./transport/Dialer.ts"
export * as DnsResolver from "./transport/DnsResolver.ts"
export * as MemoryTransport from "./transport/MemoryTransport.ts"
export * as NodeTransport from "./transport/NodeTransport.ts"
export { ResolveError, Resolver } from "./transport/Resolver.ts"
export { type Accept, DialError, type Listener, ListenError, Transport } from "./transport/Transport.ts"
