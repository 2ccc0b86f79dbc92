/**
 * The public face of Sluice.
 *
 * ```ts
 * SocksServer.layer({ listen: [address] }).pipe(Layer.provide(SocksServer.defaults))
 * ```
 *
 * serves SOCKS5; provide layers of your own for `Authenticator`, `AccessPolicy`,
 * `Resolver`, `Dialer` or `ConnectionLog` before the defaults, or a `Transport`
 * behind `SocksServer.defaultsWithoutTransport`.
 */
export * as ProxyError from "./client/ProxyError.ts"
export * as ProxyUrl from "./client/ProxyUrl.ts"
export * as SocksClient from "./client/SocksClient.ts"
export { type UdpRelay } from "./client/UdpRelay.ts"
export * as UpstreamPool from "./client/UpstreamPool.ts"
export { UpstreamError, type UpstreamInfo, Upstreams } from "./client/Upstreams.ts"
export { AccessDenied, AccessPolicy, type AccessRequest, type Verdict } from "./policy/AccessPolicy.ts"
export { AuthenticationFailed, Authenticator, type Credentials, type Identity } from "./policy/Authenticator.ts"
export * as InternalNetworks from "./policy/InternalNetworks.ts"
export * as PasswordHash from "./policy/PasswordHash.ts"
export * as Users from "./policy/Users.ts"
export * as UsersFile from "./policy/UsersFile.ts"
export * as Address from "./protocol/Address.ts"
export * as Codec from "./protocol/Codec.ts"
export * as Greeting from "./protocol/Greeting.ts"
export * as HttpConnectReply from "./protocol/HttpConnectReply.ts"
export * as MethodSelection from "./protocol/MethodSelection.ts"
export * as PasswordReply from "./protocol/PasswordReply.ts"
export * as PasswordRequest from "./protocol/PasswordRequest.ts"
export * as ProtocolError from "./protocol/ProtocolError.ts"
export * as ProxyHeader from "./protocol/ProxyHeader.ts"
export * as Reply from "./protocol/Reply.ts"
export * as Request from "./protocol/Request.ts"
export * as Socks4Reply from "./protocol/Socks4Reply.ts"
export * as Socks4Request from "./protocol/Socks4Request.ts"
export * as UdpHeader from "./protocol/UdpHeader.ts"
export { ConnectionLog, type ConnectionRecord } from "./server/ConnectionLog.ts"
export { type DatagramCounts, type Dropped } from "./server/DatagramCounts.ts"
export { Sessions } from "./server/Sessions.ts"
export { type Phase, type SessionInfo } from "./server/SessionState.ts"
export { type Options as SocksServerOptions, SocksServer } from "./server/SocksServer.ts"
export { type Connection, ConnectionError, type Watcher } from "./transport/Connection.ts"
export { Datagrams, type DatagramSocket, type Receiver } from "./transport/Datagrams.ts"
export { type Dialed, Dialer, type From, type Options as DialerOptions } from "./transport/Dialer.ts"
export * as DnsResolver from "./transport/DnsResolver.ts"
export * as Egress from "./transport/Egress.ts"
export * as ListenAddress from "./transport/ListenAddress.ts"
export * as MemoryTransport from "./transport/MemoryTransport.ts"
export * as NodeDatagrams from "./transport/NodeDatagrams.ts"
export * as NodeTransport from "./transport/NodeTransport.ts"
export { ResolveError, Resolver } from "./transport/Resolver.ts"
export { type Accept, DialError, type Listener, ListenError, timedOut, Transport } from "./transport/Transport.ts"
