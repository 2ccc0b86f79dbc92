/**
 * `resolv.conf(5)`: which servers to ask, and which names to ask them for. c-ares applies neither the
 * search list nor `ndots` to plain queries, so they are applied here.
 */
import * as Arr from "effect/Array"
import * as Host from "effect/net/Host"
import type * as Result from "effect/Result"
import * as Net from "node:net"

/** What of `resolv.conf` matters here. Other options are for c-ares, which reads the system's file too. */
export interface ResolvConf {
  /** Name servers as `HOST:PORT`, at most 3; empty when the file names none. */
  readonly servers: ReadonlyArray<string>
  /** Search domains, relative, at most 32. Not derived from the host's own name when absent. */
  readonly search: ReadonlyArray<Host.DomainName>
  /** Names with fewer dots than this are tried in the search domains first. 0 to 15, default 1. */
  readonly ndots: number
  /** Seconds before one server is given up on, 1 to 30; `undefined` when not set. */
  readonly timeout: number | undefined
  /** How often each server is asked, 1 to 5; `undefined` when not set. */
  readonly attempts: number | undefined
}

const serverText = (host: string): string => Net.isIPv6(host) ? `[${host}]:53` : `${host}:53`

const domains = (words: ReadonlyArray<string>): ReadonlyArray<Host.DomainName> =>
  Arr.getSuccesses(words.map(Host.domainNameFromString)).map(Host.toRelative).filter((name) => name !== ".").slice(
    0,
    32
  )

const option = (options: ReadonlyArray<string>, name: string, minimum: number, maximum: number): number | undefined => {
  const text = options.findLast((word) => word.startsWith(`${name}:`))?.slice(name.length + 1)
  return text !== undefined && /^\d+$/.test(text) ? Math.min(Math.max(Number(text), minimum), maximum) : undefined
}

/** Parses the text of a `resolv.conf`. Invalid lines are skipped; the last `search` or `domain` counts. */
export const parse = (text: string): ResolvConf => {
  const servers: Array<string> = []
  const options: Array<string> = []
  let search: ReadonlyArray<Host.DomainName> = []
  for (const line of text.split(/\r?\n/)) {
    // A comment is a whole line: "#" may stand inside one only by mistake, and invalid words are skipped.
    const [keyword, ...words] = line.split(/\s+/)
    const [first] = words
    if (keyword === "nameserver" && first !== undefined && Net.isIP(first) !== 0) servers.push(serverText(first))
    else if (keyword === "search") search = domains(words)
    else if (keyword === "domain") search = domains(words.slice(0, 1))
    else if (keyword === "options") options.push(...words)
  }
  return {
    servers: servers.slice(0, 3),
    search,
    ndots: option(options, "ndots", 0, 15) ?? 1,
    timeout: option(options, "timeout", 1, 30),
    attempts: option(options, "attempts", 1, 5)
  }
}

/**
 * The absolute names to ask for, in order. A name with a trailing dot is absolute already. Any other one
 * is also tried in each search domain: before it is tried alone when it has fewer dots than `ndots`, else
 * after. Names that would become too long are left out.
 */
export const candidates = (
  self: Pick<ResolvConf, "search" | "ndots">,
  name: Host.DomainName
): Arr.NonEmptyReadonlyArray<Host.DomainName> => {
  if (Host.isFullyQualified(name)) return [Host.toRelative(name)]
  const searched = Arr.getSuccesses(
    self.search.map((domain): Result.Result<Host.DomainName, unknown> => Host.domainNameFromString(`${name}.${domain}`))
  )
  const dots = name.split(".").length - 1
  return dots < self.ndots ? Arr.append(searched, name) : Arr.prepend(searched, name)
}
