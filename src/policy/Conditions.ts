/** The conditions of rules, as what asks a request. */
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import type { AccessRequest } from "./AccessPolicy.ts"
import * as AddressWords from "./AddressWords.ts"
import * as Domain from "./Domain.ts"
import { type Entry, List } from "./List.ts"
import type { Conditions } from "./Rule.ts"

/** `unknown` until the destination's address is known. */
export type Answer = "yes" | "no" | "unknown"

const nothing: ReadonlyArray<never> = []

/** What conditions are asked about: a request, and an address that would be dialled for it. */
export class Facts {
  readonly request: AccessRequest
  /** Milliseconds. */
  readonly now: number
  /** As domains are compared with; `undefined` for an address. */
  readonly name: string | undefined
  readonly ip: NetAddress.IpAddress | undefined
  readonly address: AddressWords.Words | undefined
  /** Where else the address may lead. */
  readonly otherwise: ReadonlyArray<AddressWords.Words>
  readonly client: AddressWords.Words | undefined

  constructor(request: AccessRequest, ip: NetAddress.IpAddress | undefined, now: number) {
    this.request = request
    this.now = now
    const { host } = request.destination
    const literal = AddressWords.literalOf(host)
    this.name = typeof host === "string" && literal === undefined ? Domain.normalize(host) : undefined
    this.ip = ip ?? literal
    this.address = this.ip && AddressWords.fromIp(this.ip)
    this.otherwise = this.address === undefined ? nothing : AddressWords.otherwise(this.address)
    this.client = request.client && AddressWords.fromIp(request.client.address)
  }
}

/** One condition. */
export interface Check {
  readonly holds: (facts: Facts) => Answer
  /** What it looks at: `user ann`. */
  readonly subject: (facts: Facts) => string
  /** Why it doesn't hold: `user ann is not bob`. */
  readonly why: (facts: Facts) => string
}

/** At most as many items as one reads. */
const shown = (items: ReadonlyArray<string>): string =>
  items.length > 6 ? `${items.slice(0, 5).join(", ")} and ${items.length - 5} more` : items.join(", ")

const answer = (holds: boolean): Answer => holds ? "yes" : "no"

const checkOf = (
  holds: Check["holds"],
  subject: Check["subject"],
  items: ReadonlyArray<string>,
  [one, several]: readonly [one: string, several: string] = ["is not", "is none of"]
): Check => ({
  holds,
  subject,
  why: (facts) => `${subject(facts)} ${items.length === 1 ? one : several} ${shown(items)}`
})

/** A condition on something that a request has one of at most. */
const checkValue = (
  noun: string,
  valueOf: (request: AccessRequest) => string | undefined,
  items: ReadonlyArray<string>
): Check => {
  const wanted = new Set(items)
  return checkOf(
    ({ request }) => {
      const value = valueOf(request)
      return answer(value !== undefined && wanted.has(value))
    },
    ({ request }) => `${noun} ${valueOf(request) ?? "(none)"}`,
    items
  )
}

const groupsOf = ({ request }: Facts): ReadonlyArray<string> => request.groups ?? nothing

const checkGroups = (items: ReadonlyArray<string>): Check => {
  const wanted = new Set(items)
  return checkOf(
    (facts) => answer(groupsOf(facts).some((group) => wanted.has(group))),
    (facts) => groupsOf(facts).length === 0 ? "group (none)" : `group ${shown(groupsOf(facts))}`,
    items
  )
}

const checkPorts = (ports: NonNullable<Conditions["ports"]>): Check =>
  checkOf(
    ({ request: { destination: { port } } }) => answer(ports.some(({ from, to }) => from <= port && port <= to)),
    ({ request }) => `port ${request.destination.port}`,
    ports.map(({ from, to }) => from === to ? String(from) : `${from}-${to}`)
  )

const checkTime = (window: NonNullable<Conditions["when"]>): Check =>
  checkOf(({ now }) => answer(window.holds(now)), ({ now }) => `it is ${window.show(now)}, which`, [window.toString()])

/** `db.corp`, `192.0.2.3` or `db.corp (192.0.2.3)`. */
const destinationOf = ({ ip, name }: Facts): string => {
  const address = ip && NetAddress.formatIp(ip)
  if (name === undefined) return address ?? ""
  return address === undefined ? name : `${name} (${address})`
}

/** Networks, domains and lists of both, as one. */
export class Targets {
  /** Those that stand in the rule itself are a list of their own. */
  private readonly lists: ReadonlyArray<List>
  private readonly texts: ReadonlyArray<string>
  private readonly hasNetworks: boolean

  constructor(items: ReadonlyArray<Entry | List>) {
    const inline = items.filter((item) => item._tag !== "List")
    this.lists = [List.make("", inline), ...items.filter((item) => item._tag === "List")]
    this.texts = items.map((item) =>
      item._tag === "List" ? item.name : item._tag === "Domain" ? Domain.format(item) : IpNetwork.format(item)
    )
    this.hasNetworks = this.lists.some(({ networks }) => networks.size > 0)
  }

  /** The length of the narrowest network of these that an address is in; -1 for none. */
  longest(words: AddressWords.Words): number {
    return Math.max(...this.lists.map(({ networks }) => networks.longest(words)))
  }

  private hasAddress(words: AddressWords.Words): boolean {
    return this.lists.some(({ networks }) => networks.has(words))
  }

  /** A condition on the client. */
  readonly onClient = (): Check =>
    checkOf(
      ({ client }) => answer(client !== undefined && this.hasAddress(client)),
      ({ request: { client } }) => `client ${client === undefined ? "(no address)" : NetAddress.formatHost(client)}`,
      this.texts,
      ["is not in", "is in none of"]
    )

  /**
   * A condition on the destination. An IPv6 address that carries an IPv4 address may lead there, or not, and 0.0.0.0 leads
   * to this host: it is in a network by either if that is what denies (`carries`), else only by what it is itself.
   */
  readonly onDestination = (carries: boolean): Check => {
    const holds = ({ address, name, otherwise }: Facts): Answer => {
      if (name !== undefined && this.lists.some((list) => list.hasName(name))) return "yes"
      if (!this.hasNetworks) return "no"
      if (address === undefined) return "unknown"
      return answer(this.hasAddress(address) || carries && otherwise.some((words) => this.hasAddress(words)))
    }
    return checkOf(holds, destinationOf, this.texts, ["is not in", "is in none of"])
  }
}

/** What costs least comes first. `carries` is said of `Targets.onDestination`. */
export const compile = (conditions: Conditions, carries: boolean): ReadonlyArray<Check> => {
  const { clients, commands, groups, listeners, ports, protocols, to, users, when } = conditions
  const checks = [
    ports && checkPorts(ports),
    when && checkTime(when),
    protocols && checkValue("protocol", ({ protocol }) => protocol, protocols),
    commands && checkValue("command", ({ command }) => command, commands),
    listeners && checkValue("listener", ({ listener }) => listener, listeners),
    users && checkValue("user", ({ user }) => user, users),
    groups && checkGroups(groups),
    clients && new Targets(clients).onClient(),
    to && new Targets(to).onDestination(carries)
  ]
  return checks.filter((check) => check !== undefined)
}
