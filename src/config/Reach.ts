/** What the requests are like that a rule can be asked about at all, by what is served and how clients speak. */
import * as Arr from "effect/Array"
import type { Conditions } from "../policy/Rule.ts"
import * as Dialect from "../server/Dialect.ts"
import type { PortRange } from "../transport/PortRange.ts"
import * as Coverage from "./Coverage.ts"

/** What is known of those who ask. */
export interface World {
  /** What clients can speak. */
  readonly protocols: ReadonlyArray<Dialect.Protocol>
  /** Where they can come in, as rules name it; `undefined` when that is not known. */
  readonly listeners: ReadonlyArray<string> | undefined
  /** Whether they can have a name. */
  readonly haveNames: boolean
  /** Whether they can be in a group. */
  readonly haveGroups: boolean
}

export const anywhere: World = { protocols: Dialect.protocols, listeners: undefined, haveNames: true, haveGroups: true }

/** Of each condition what requests can have there that meet it; `undefined` where nobody knows all that there is. */
export type Reach = Readonly<Record<Coverage.Key, ReadonlyArray<Coverage.Item> | undefined>>

/** It is judged as if it went to port 0. */
const isLookup = (command: string): boolean => command === "resolve" || command === "resolve-ptr"

/** SOCKS lets clients ask for port 0 where a connection is meant; a URL has another, and a datagram to it goes nowhere. */
const mayLackPort = (protocol: Dialect.Protocol, command: Dialect.Command): boolean =>
  isLookup(command) || (protocol !== "http" && (command === "connect" || command === "bind"))

interface Asked {
  readonly protocol: Dialect.Protocol
  readonly command: Dialect.Command
}

/** Ports in a rule begin with 1: it is never about a lookup. */
const askedBy = ({ commands, ports, protocols }: Conditions, world: World): ReadonlyArray<Asked> =>
  world.protocols.filter((protocol) => protocols?.includes(protocol) !== false).flatMap((protocol) =>
    Dialect.commandsOf[protocol]
      .filter((command) => commands?.includes(command) !== false && (ports === undefined || !isLookup(command)))
      .map((command) => ({ protocol, command }))
  )

const portsOf = (asked: ReadonlyArray<Asked>): PortRange => ({
  from: asked.some(({ command, protocol }) => mayLackPort(protocol, command)) ? 0 : 1,
  to: asked.every(({ command }) => isLookup(command)) ? 0 : 65_535
})

/** What the conditions of a rule can be met by. Clients have an address: without one they have left. */
export const of = (conditions: Conditions, world: World): Reach => {
  const asked = askedBy(conditions, world)
  return {
    users: conditions.users,
    groups: conditions.groups,
    clients: conditions.clients ?? Coverage.everywhere,
    listeners: conditions.listeners ?? world.listeners,
    protocols: Arr.dedupe(asked.map(({ protocol }) => protocol)),
    commands: Arr.dedupe(asked.map(({ command }) => command)),
    // A name is judged by the addresses that it leads to where those can matter.
    to: conditions.to ?? Coverage.everywhere,
    ports: conditions.ports ?? [portsOf(asked)]
  }
}

/** Why nothing is ever asked for that meets the conditions, and which of them is at fault. */
export const unheardOf = (
  { commands, groups, ports, protocols, users }: Conditions,
  world: World
): { readonly key: keyof Conditions; readonly why: string } | undefined => {
  const speaking = world.protocols.filter((protocol) => protocols?.includes(protocol) !== false)
  if (speaking.length === 0) {
    return { key: "protocols", why: `clients can speak nothing but ${world.protocols.join(", ")} here` }
  }
  const asked = speaking.flatMap((protocol) => Dialect.commandsOf[protocol])
  if (commands?.some((command) => asked.some((known) => known === command)) === false) {
    const known = Arr.dedupe(asked).join(", ")
    return { key: "commands", why: `clients that speak ${speaking.join(", ")} ask for nothing but ${known}` }
  }
  if (askedBy({ commands, ports, protocols }, world).length === 0) {
    return { key: "ports", why: "lookups ask for no port" }
  }
  const why = "there are no users, as far as is known here"
  if (users !== undefined && !world.haveNames) return { key: "users", why }
  if (groups !== undefined && !world.haveGroups) return { key: "groups", why }
  return undefined
}

/** Whether it can be asked about BIND or UDP ASSOCIATE, which open a port before they say where that goes. */
export const mayOpenPort = ({ commands }: Reach): boolean =>
  commands?.some((command) => command === "bind" || command === "associate") === true
