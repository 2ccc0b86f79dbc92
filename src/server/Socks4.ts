/** SOCKS4 and 4a as a server speaks them: one request with everything in it, and replies that say yes or no. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { AuthenticationFailed, type Authenticator } from "../policy/Authenticator.ts"
import * as Address from "../protocol/Address.ts"
import { ProtocolError, UnknownCommand } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import * as Socks4Reply from "../protocol/Socks4Reply.ts"
import * as Socks4Request from "../protocol/Socks4Request.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { Dialect, Rejection, Wish } from "./Dialect.ts"
import type { MessageReader } from "./MessageReader.ts"
import { type Refusal, replyCode } from "./Refusal.ts"
import type { SessionState } from "./SessionState.ts"

/** SOCKS4 knows no passwords: where a login is asked for, the USERID has to name somebody who needs none. */
const identify = (
  session: SessionState,
  userId: string,
  authenticator: Authenticator["Service"]
): Effect.Effect<void, AuthenticationFailed> => {
  if (!authenticator.required) return Effect.void
  // Named in the log even when it is refused, as in SOCKS5.
  if (userId !== "") session.user = userId
  if (authenticator.identify === undefined) return Effect.fail(new AuthenticationFailed({ username: userId }))
  return Effect.map(authenticator.identify(userId, session.remote), (identity) => session.admit(identity))
}

const commands = new Map<number, "connect" | "bind">([
  [Socks4Request.connect, "connect"],
  [Socks4Request.bind, "bind"]
])

const request = (
  session: SessionState,
  reader: MessageReader,
  authenticator: Authenticator["Service"]
): Effect.Effect<Wish, ProtocolError | AuthenticationFailed | ConnectionError | Cause.Done> =>
  Effect.flatMap(reader.read(Socks4Request.codec), ({ address, command, userId }) => {
    // For the log of one that is refused here.
    session.destination = Result.getOrUndefined(Address.toHostPort(address))
    return Effect.flatMap(identify(session, userId, authenticator), (): Effect.Effect<Wish, ProtocolError> => {
      const known = commands.get(command)
      if (known !== undefined) return Effect.succeed({ command: known, address })
      const reason = new UnknownCommand({ command })
      return Effect.fail(new ProtocolError({ frame: Socks4Request.codec.name, reason }))
    })
  })

const noAddress = (port: number) => ({ _tag: "Ipv4", ip: NetAddress.ipv4Unspecified, port }) as const

/** An IPv6 address does not fit in; 0.0.0.0 stands for the address that the client knows the proxy by. */
const ipv4Of = (address: Address.Address) => address._tag === "Ipv4" ? address : noAddress(address.port)

const refused = Socks4Reply.codec.encode({ code: Socks4Reply.refused, address: noAddress(0) })

/** The client learns only that it is refused; the log says why, in the codes of RFC 1928. */
const rejection = (reply: number): Rejection => ({ reply, message: refused })

const codeOf = (error: Refusal): number =>
  error._tag === "AuthenticationFailed" || error._tag === "NoAcceptableMethod" ? Reply.notAllowed : replyCode(error)

export const dialect: Dialect = {
  protocol: "socks4",
  request,
  granted: (address) => Socks4Reply.codec.encode({ code: Socks4Reply.granted, address: ipv4Of(address) }),
  rejection: (error) => rejection(codeOf(error)),
  broken: () => rejection(Reply.generalFailure)
}
