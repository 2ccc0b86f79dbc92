/** Which protocol a client speaks: its first byte tells, or the word that it begins. */
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
import * as Stranger from "./Stranger.ts"

export type Sniffer = (
  reader: MessageReader
) => Effect.Effect<Dialect, UnknownProtocol | ConnectionError | Cause.Done>

const dialectOf = (first: number): Dialect | undefined => {
  if (first === version) return Socks5.dialect
  if (first === Socks4Request.version) return Socks4.dialect
  // A request's method, in capitals.
  if (Stranger.isCapital(first)) return Http.dialect
  return undefined
}

/** Waits for the first byte, within the limit of the handshake, and leaves it to be read. */
export const make = (served: ReadonlyArray<Protocol>): Sniffer => {
  const choose = (bytes: Uint8Array): Effect.Effect<Dialect, UnknownProtocol> => {
    const dialect = dialectOf(bytes[0] ?? 0)
    return dialect !== undefined && served.includes(dialect.protocol) &&
        (dialect !== Http.dialect || Stranger.knownText(bytes) === undefined)
      ? Effect.succeed(dialect)
      : Effect.fail(new UnknownProtocol({ looks: Stranger.looksLike(bytes) }))
  }
  return (reader) => Effect.flatMap(reader.next, choose)
}
