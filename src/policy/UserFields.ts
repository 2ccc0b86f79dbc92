/** What is known of a user besides the name and the hash, as a users file and `sluice user` write it: `key=value`. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Egress from "../transport/Egress.ts"
import * as Expiry from "./Expiry.ts"

export interface UserFields {
  /** Tells the passwords of a user apart. */
  readonly label?: string
  readonly expires?: Expiry.Expiry
  readonly groups?: ReadonlyArray<string>
  /** The networks that the user may log in from. */
  readonly from?: ReadonlyArray<IpNetwork.IpNetwork>
  /** The name of a limit class. */
  readonly limits?: string
  /** What the user goes out from. */
  readonly egress?: ReadonlyArray<Egress.Source>
  /** Which of several; only beside `egress`. */
  readonly "egress-by"?: Egress.Choice
}

export type Key = keyof UserFields

/** What is wrong, and what to do about it. A value is quoted only under its own key: other text may be a password. */
export interface Wrong {
  readonly problem: string
  readonly fix: string
}

export interface FieldError extends Wrong {
  readonly field: Key | "fields"
}

const keys: ReadonlyArray<Key> = ["label", "expires", "groups", "from", "limits", "egress", "egress-by"]

const isKey = (text: string): text is Key => keys.some((key) => key === text)

const wrong = (text: string, what: string, fix: string): Result.Result<never, Wrong> =>
  Result.fail({ problem: `${JSON.stringify(text)} is not ${what}`, fix })

/** Of a label, a group or a limit class. */
export const word = (what: string) => (text: string): Result.Result<string, Wrong> =>
  /^[\p{L}\p{N}_.@-]{1,64}$/u.test(text)
    ? Result.succeed(text)
    : wrong(text, what, "write letters, digits and any of _.@-")

/** A network, or an address as the network of itself. */
export const network = (text: string): Result.Result<IpNetwork.IpNetwork, Wrong> => {
  const alone = NetAddress.ipFromString(text)
  return Result.orElse(
    Result.isSuccess(alone)
      ? IpNetwork.make(alone.success, NetAddress.width(alone.success))
      : IpNetwork.fromString(text),
    () => wrong(text, "a network", "write an address, or 192.0.2.0/24")
  )
}

const egressSource = (text: string): Result.Result<Egress.Source, Wrong> => {
  if (text.includes("/")) return network(text)
  const source = Egress.lone(text)
  return source === undefined
    ? wrong(text, "an address, a network or an interface of this machine", `write one: ${Egress.examples()}`)
    : Result.succeed(source)
}

const egressBy = (text: string): Result.Result<Egress.Choice, Wrong> =>
  Result.fromNullishOr(Egress.choices.find((choice) => choice === text), () => ({
    problem: `${JSON.stringify(text)} is not one of ${Egress.choices.join(", ")}`,
    fix: "write one of these"
  }))

const list = <A>(text: string, parse: (item: string) => Result.Result<A, Wrong>) =>
  Result.all(text.split(",").map(parse))

const expiry = (text: string): Result.Result<Expiry.Expiry, Wrong> =>
  Result.orElse(Expiry.fromString(text), () => wrong(text, "a date", Expiry.howToWrite))

/** The value of one key. */
export const valueOf = (key: Key, text: string): Result.Result<UserFields, Wrong> => {
  switch (key) {
    case "label":
      return Result.map(word("a label")(text), (label) => ({ label }))
    case "limits":
      return Result.map(word("a limit class")(text), (limits) => ({ limits }))
    case "expires":
      return Result.map(expiry(text), (expires) => ({ expires }))
    case "groups":
      return Result.map(list(text, word("a group")), (groups) => ({ groups }))
    case "from":
      return Result.map(list(text, network), (from) => ({ from }))
    case "egress":
      return Result.map(list(text, egressSource), (egress) => ({ egress }))
    case "egress-by":
      return Result.map(egressBy(text), (by) => ({ "egress-by": by }))
  }
}

/** Whether a text means to be fields: it begins like one. */
export const looksLike = (text: string): boolean => /^\s*[a-z-]+=/.test(text)

/** Reads fields that are separated by spaces. */
export const parse = (text: string): Result.Result<UserFields, FieldError> => {
  const fields: UserFields = {}
  for (const [index, token] of text.trim().split(/\s+/).entries()) {
    const equals = token.indexOf("=")
    const key = token.slice(0, Math.max(0, equals))
    if (!isKey(key)) {
      const problem = `field ${index + 1} after the hash is none that is known`
      return Result.fail({ field: "fields", problem, fix: `write ${keys.map((known) => `${known}=`).join(", ")}` })
    }
    if (fields[key] !== undefined) {
      return Result.fail({ field: key, problem: `${key}= is given twice`, fix: "remove one of them" })
    }
    const value = valueOf(key, token.slice(equals + 1))
    if (Result.isFailure(value)) {
      return Result.fail({ field: key, ...value.failure, problem: `${key}=: ${value.failure.problem}` })
    }
    Object.assign(fields, value.success)
  }
  if (fields["egress-by"] !== undefined && fields.egress === undefined) {
    const problem = "egress-by= says which of several, and there is no egress="
    return Result.fail({ field: "egress-by", problem, fix: "add egress= with what to go out from" })
  }
  return Result.succeed(fields)
}

const texts: { readonly [K in Key]: (value: NonNullable<UserFields[K]>) => string } = {
  label: (label) => label,
  expires: Expiry.format,
  groups: (groups) => groups.join(","),
  from: (from) => from.map(IpNetwork.format).join(","),
  limits: (limits) => limits,
  egress: (egress) => egress.map(Egress.format).join(","),
  "egress-by": (by) => by
}

const textOf = <K extends Key>(key: K, value: UserFields[K]): string | undefined =>
  value === undefined ? undefined : texts[key](value)

/** A field as it is written; `undefined` where there is none. */
export const formatField = (fields: UserFields, key: Key): string | undefined => textOf(key, fields[key])

/** As `parse` reads them; the empty text for none. */
export const format = (fields: UserFields): string =>
  keys.flatMap((key) => {
    const text = formatField(fields, key)
    return text === undefined ? [] : [`${key}=${text}`]
  }).join(" ")
