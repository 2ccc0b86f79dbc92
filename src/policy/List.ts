/** A named list of networks and domains, which rules can name as one. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as Domain from "./Domain.ts"
import { type DomainSet, DomainSetBuilder } from "./DomainSet.ts"
import { NetworkSet } from "./NetworkSet.ts"

/** What can stand in a list. */
export type Entry = IpNetwork.IpNetwork | Domain.Domain

/** An address alone is a network of one. */
const networkFromAddress = (address: NetAddress.IpAddress): IpNetwork.IpNetwork =>
  IpNetwork.makeUnsafe(address, NetAddress.width(address))

const networkFromString = (text: string): Result.Result<IpNetwork.IpNetwork, string> => {
  const network = IpNetwork.fromString(text)
  if (Result.isSuccess(network)) return Result.succeed(network.success)
  const slash = text.indexOf("/")
  const address = NetAddress.ipFromString(text.slice(0, slash))
  const bits = /^\d{1,3}$/.test(text.slice(slash + 1)) ? Number(text.slice(slash + 1)) : undefined
  const masked = Result.isSuccess(address) && bits !== undefined
    ? IpNetwork.fromAddress(address.success, bits)
    : undefined
  return Result.fail(
    masked !== undefined && Result.isSuccess(masked)
      ? `is an address in a network; write ${IpNetwork.format(masked.success)}`
      : "is no network; write ADDRESS/BITS, as 10.0.0.0/8 or 2001:db8::/32"
  )
}

/** The names that block lists are made of. What else may be one is looked at more closely. */
const plainName = /^(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/

/** A domain, where that is seen at once. */
const plainDomain = (text: string): Domain.Domain | undefined => {
  if (plainName.test(text)) return { _tag: "Domain", kind: "exact", text }
  const suffix = text.startsWith(".") ? text.slice(1) : ""
  return plainName.test(suffix) ? { _tag: "Domain", kind: "suffix", text: suffix } : undefined
}

/** Parses an address, a network or a domain. The failure says what is wrong and what to do, in words that follow it. */
export const entryFromString = (text: string): Result.Result<Entry, string> => {
  const plain = plainDomain(text)
  if (plain !== undefined) return Result.succeed(plain)
  if (text.includes("/")) return networkFromString(text)
  const address = NetAddress.ipFromString(text)
  if (Result.isSuccess(address)) return Result.succeed(networkFromAddress(address.success))
  return Result.mapError(
    Domain.fromString(text),
    (why) => `${why}; write a name, .SUFFIX, a glob as *.ads.*, or a network`
  )
}

/** Of a list with no more than this, its entries are kept as they are too. */
const short = 256

export class List {
  readonly _tag = "List"
  readonly name: string
  readonly networks: NetworkSet
  readonly domains: DomainSet
  readonly globs: ReadonlyArray<string>
  /** All that is in it, where that is not much. */
  readonly entries: ReadonlyArray<Entry> | undefined

  constructor(
    name: string,
    networks: NetworkSet,
    domains: DomainSet,
    globs: ReadonlyArray<string>,
    entries: ReadonlyArray<Entry> | undefined
  ) {
    this.name = name
    this.networks = networks
    this.domains = domains
    this.globs = globs
    this.entries = entries
  }

  static make(name: string, entries: Iterable<Entry>): List {
    const builder = new ListBuilder(name)
    for (const entry of entries) builder.add(entry)
    const steps = builder.steps()
    while (true) {
      const { done, value } = steps.next()
      if (done === true) return value
    }
  }

  /** How many networks and domains there are. */
  get size(): number {
    return this.networks.size + this.domains.size + this.globs.length
  }

  /** Whether it can say anything about names. */
  get hasDomains(): boolean {
    return this.domains.size > 0 || this.globs.length > 0
  }

  /** Whether a name, lower case and without a dot at its end, is one of its domains. */
  hasName(name: string): boolean {
    return this.domains.has(name) || this.globs.some((glob) => Domain.globMatches(glob, name))
  }
}

/** Takes entries in, and makes the list of them. For one list. */
export class ListBuilder {
  private readonly name: string
  private readonly networks = new NetworkSet()
  private readonly domains = new DomainSetBuilder()
  private readonly globs = new Set<string>()
  private entries: Array<Entry> | undefined = []

  constructor(name: string) {
    this.name = name
  }

  add(entry: Entry): void {
    if (this.entries?.length === short) this.entries = undefined
    this.entries?.push(entry)
    if (entry._tag === "IpNetwork") this.networks.add(entry)
    else if (entry.kind === "glob") this.globs.add(entry.text)
    else this.domains.add(entry.text, entry.kind === "suffix")
  }

  /** Makes the list, in steps between which something else can be done. */
  *steps(): Generator<void, List> {
    return new List(this.name, this.networks, yield* this.domains.steps(), [...this.globs], this.entries)
  }
}
