/** Who a user name stands for, without a password being asked for. */
import type * as Duration from "effect/Duration"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import type { AccessRequest } from "../policy/AccessPolicy.ts"
import * as UserOptions from "../policy/UserOptions.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import type { Loaded } from "./ConfigFile.ts"
import type { Settings } from "./Settings.ts"

/** Somebody who asks. */
export interface Visitor {
  /** `undefined` for one that has not logged in. */
  readonly name: string | undefined
  /** What is known of that user. */
  readonly user: StoredUser | undefined
  readonly session: string | undefined
  /** How long after its last login a session is the same one; `undefined` for ever. */
  readonly stickFor: Duration.Input | undefined
  readonly pool: string | undefined
}

export const nobody: Visitor = {
  name: undefined,
  user: undefined,
  session: undefined,
  stickFor: undefined,
  pool: undefined
}

/** The name may have options. The failure follows the name. */
export const fromName = (
  { config }: Loaded,
  { egressBy }: Settings,
  users: ReadonlyArray<StoredUser>,
  username: string
): Result.Result<Visitor, string> => {
  const declared = Object.keys(config.userOptions).length > 0
  const plus = declared || egressBy !== "session" ? -1 : username.indexOf("+")
  const parsed: Result.Result<UserOptions.Parsed, string> = declared
    ? UserOptions.parse(config.userOptions, username)
    : Result.succeed(
      plus === -1
        ? { name: username }
        : { name: username.slice(0, plus), session: { tag: username.slice(plus + 1), stickFor: undefined } }
    )
  return Result.map(parsed, ({ name, pool, session }) => ({
    name,
    user: users.find((user) => user.name === name),
    session: session?.tag,
    stickFor: session?.stickFor,
    pool
  }))
}

/** How rules and requests name the listeners; `undefined` where a port is only known once it is open. */
export const listenersOf = ({ listen }: Settings): ReadonlyArray<string> | undefined =>
  listen.some((address) => ListenAddress.inetOf(address)?.port === 0) ? undefined : listen.map(ListenAddress.format)

/** What else is said of a request. */
export interface Circumstances {
  readonly groups?: ReadonlyArray<string> | undefined
  readonly client?: NetAddress.IpAddress | undefined
  readonly listener?: string | undefined
  readonly protocol?: string | undefined
  readonly command?: string | undefined
  readonly destination: Host.HostPort
}

/** The request as the policy gets to see it. */
export const requestOf = (
  { name, pool, session, user }: Visitor,
  { listen: [first] }: Settings,
  { client, command = "connect", destination, groups, listener, protocol = "socks5" }: Circumstances
): AccessRequest => ({
  client: client === undefined ? undefined : NetAddress.inetAddressUnsafe(client, 0),
  user: name,
  groups: groups ?? user?.groups,
  session,
  egress: user?.egress,
  pool,
  listener: listener ?? (first === undefined ? undefined : ListenAddress.format(first)),
  protocol,
  command,
  destination
})
