/** Which protocol a client speaks: its first byte tells. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Socks4Request from "../protocol/Socks4Request.ts"
import { version } from "../protocol/Version.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { Dialect, Protocol } from "./Dialect.ts"
import * as Http from "./Http.ts"
import type { MessageReader } from "./MessageReader.ts"
import { UnknownProtocol } from "./Refusal.ts"
import * as Socks4 from "./Socks4.ts"
import * as Socks5 from "./Socks5.ts"

export type Sniffer = (
  reader: MessageReader
) => Effect.Effect<Dialect, UnknownProtocol | ConnectionError | Cause.Done>

const dialectOf = (first: number): Dialect | undefined => {
  if (first === version) return Socks5.dialect
  if (first === Socks4Request.version) return Socks4.dialect
  // A request's method, in capitals.
  if (first >= 0x41 && first <= 0x5a) return Http.dialect
  return undefined
}

/** A record of TLS that begins a handshake (RFC 8446 §5.1). */
const tlsHandshake = 0x16

/** What a connection that is not for us begins with. */
const looks = (first: number): string => {
  if (first === version) return "SOCKS5"
  if (first === Socks4Request.version) return "SOCKS4"
  if (first === tlsHandshake) return "TLS"
  // Version 1 is text, and can't be told from HTTP by its first byte.
  if (first === 0x0d) return "a PROXY header, from a network that --proxy-protocol does not name"
  // A request's method, in capitals.
  if (first >= 0x41 && first <= 0x5a) return "HTTP, or other text"
  return `nothing known (first byte 0x${first.toString(16).padStart(2, "0")})`
}

/** Waits for the first byte, within the limit of the handshake, and leaves it to be read. */
export const make = (served: ReadonlyArray<Protocol>): Sniffer => {
  const choose = (first: number): Effect.Effect<Dialect, UnknownProtocol> => {
    const dialect = dialectOf(first)
    return dialect !== undefined && served.includes(dialect.protocol)
      ? Effect.succeed(dialect)
      : Effect.fail(new UnknownProtocol({ looks: looks(first) }))
  }
  return (reader) => Effect.flatMap(reader.first, choose)
}
