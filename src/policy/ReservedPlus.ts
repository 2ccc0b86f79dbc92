/** The plus in a user's name, behind which the client's options are, or the tag of its session. */
import type { Choice } from "../transport/Egress.ts"

/** Whether it is no part of the name: options are declared, or sessions stick to where they go out from. */
export const isReserved = (userOptions: object | undefined, egressBy: Choice | undefined): boolean =>
  Object.keys(userOptions ?? {}).length > 0 || egressBy === "session"

/** What is wrong with the name of a user, who could never log in; `undefined` for nothing. */
export const problem = (name: string): string | undefined =>
  name.includes("+") ? `${JSON.stringify(name)} has a plus, behind which are options of a user` : undefined
