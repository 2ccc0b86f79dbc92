/** Whether somebody would get past the login, without a password being asked for. */
import * as NetAddress from "effect/net/NetAddress"
import * as Users from "../policy/Users.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import type { Loaded } from "./ConfigFile.ts"
import { quote } from "./Escape.ts"
import type { Settings } from "./Settings.ts"
import type { Circumstances, Visitor } from "./Visitor.ts"

/** Whose certificate has been verified need not log in. */
const isVouchedFor = ({ listen }: Settings, listener: string | undefined): boolean => {
  const own = listener === undefined ? listen[0] : listen.find((one) => ListenAddress.format(one) === listener)
  return own !== undefined && ListenAddress.asksForCertificate(own)
}

/** Why none of the user's passwords would do. */
const ofUser = (user: StoredUser, client: NetAddress.IpAddress | undefined, now: number): string | undefined => {
  const from = client && NetAddress.inetAddressUnsafe(client, 0)
  const reasons = new Set<string>()
  for (const password of user.passwords) {
    const reason = Users.objection(user, password, from, now)
    if (reason === undefined) return undefined
    reasons.add(reason)
  }
  return [...reasons].join("; ")
}

/**
 * Why the login would be refused, of somebody who names no user as well; `undefined` where it would not be, or where a
 * service decides that nothing is known of here.
 */
export const objection = (
  { config: { auth } }: Loaded,
  settings: Settings,
  { name, user }: Visitor,
  { client, listener, protocol }: Pick<Circumstances, "client" | "listener" | "protocol">,
  now: number
): string | undefined => {
  if (isVouchedFor(settings, listener)) return undefined
  if (name === undefined) return "one is needed, and no user is given"
  if (protocol === "socks4" && auth === undefined) return "one is needed, and SOCKS4 has no passwords"
  if (user !== undefined) return ofUser(user, client, now)
  return auth === undefined ? `there is no user ${quote(name)}` : undefined
}

/** The objection in the words of what decides. */
export const format = (objection: string): string => `login (${objection})`
