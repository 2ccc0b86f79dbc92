/** Domains as rules and lists name them: `db.corp`, `.corp` for it and all below, `*.db.*`. */
import * as Host from "effect/net/Host"
import * as Result from "effect/Result"

/**
 * `text` is lower case, IDN as A-labels, without a dot at its end: `exact` is that name; `suffix` (without its first dot)
 * is that name and all below it; in a `glob`, a `*` is any text, dots too, and a `?` any one character.
 */
export interface Domain {
  readonly _tag: "Domain"
  readonly kind: "exact" | "suffix" | "glob"
  readonly text: string
}

/** A name as domains are compared with: lower case, without a dot at its end. */
export const normalize = (name: string): string => {
  const lower = name.toLowerCase()
  return lower.endsWith(".") ? lower.slice(0, -1) : lower
}

/** As people write it. */
export const format = ({ kind, text }: Domain): string => kind === "suffix" ? `.${text}` : text

const isGlob = (text: string): boolean => /[*?]/.test(text)

/** Why a text is no domain, in words that follow it; its labels are like those of a name. */
const fail = (why: string): Result.Result<never, string> => Result.fail(why)

const globFromString = (text: string): Result.Result<Domain, string> => {
  // IDN can't be told from a part of it.
  if (!/^[a-z0-9_.*?-]+$/.test(text)) return fail("has characters that no name has; write IDN as xn--…")
  if (text.includes("..")) return fail("has an empty label")
  return text.length > 253
    ? fail("is longer than 253 characters")
    : Result.succeed({ _tag: "Domain", kind: "glob", text })
}

/** Parses what `format` prints, in any case. The failure says what is wrong, in words that follow the text. */
export const fromString = (text: string): Result.Result<Domain, string> => {
  if (isGlob(text)) return globFromString(normalize(text))
  const kind = text.startsWith(".") ? "suffix" : "exact"
  const name = Host.domainNameFromString(kind === "suffix" ? text.slice(1) : text)
  if (Result.isFailure(name)) return fail(`is no domain (${name.failure.message})`)
  return name.success === "."
    ? fail("is no domain (the root)")
    : Result.succeed({ _tag: "Domain", kind, text: normalize(name.success) })
}

/**
 * Whether a name is one of a glob's. Takes at most the product of both lengths, which no regular expression promises:
 * names come from clients.
 */
export const globMatches = (glob: string, name: string): boolean => {
  let at = 0
  let from = 0
  // Where the last star is, and up to where it has swallowed the name.
  let star = -1
  let swallowed = 0
  while (from < name.length) {
    const wanted = glob[at]
    if (wanted === "*") {
      star = at++
      swallowed = from
    } else if (wanted === "?" || (wanted !== undefined && wanted === name[from])) {
      at++
      from++
    } else if (star === -1) {
      return false
    } else {
      at = star + 1
      from = ++swallowed
    }
  }
  while (glob[at] === "*") at++
  return at === glob.length
}
