/** What a client of the simulation says before its payload, and what it must be told for it. */
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Address from "../../src/protocol/Address.ts"
import * as Greeting from "../../src/protocol/Greeting.ts"
import * as PasswordRequest from "../../src/protocol/PasswordRequest.ts"
import * as Reply from "../../src/protocol/Reply.ts"
import * as Request from "../../src/protocol/Request.ts"
import type { Dice } from "./Dice.ts"
import type { HostPlan, Route } from "./Plan.ts"

export const user = "alice"
export const password = "correct horse"

/** What is wrong with it. With `mutated`, anything may be; with `truncated`, its end is missing. */
export type Fault =
  | "none"
  | "version"
  | "methods"
  | "password"
  | "login version"
  | "command"
  | "reserved"
  | "type"
  | "domain"
  | "mutated"
  | "truncated"

/** The answers to the three messages; `undefined` where none may come. Of the replies, any of the codes. */
export interface Expected {
  readonly method: number | undefined
  readonly status: number | undefined
  readonly replies: ReadonlyArray<number>
}

/** What the client waits for once a message is sent. */
export type Answer = "method" | "status" | "reply"

export interface Handshake {
  readonly fault: Fault
  readonly pieces: ReadonlyArray<
    { readonly after: number; readonly bytes: Uint8Array; readonly awaits: Answer | undefined }
  >
  /** Does not wait for answers, and sends payload behind the request at once. */
  readonly optimistic: boolean
  /** `undefined`: whatever is well formed. */
  readonly expected: Expected | undefined
}

const failureCodes = {
  closed: Reply.connectionRefused,
  never: Reply.hostUnreachable,
  Refused: Reply.connectionRefused,
  HostUnreachable: Reply.hostUnreachable,
  NetworkUnreachable: Reply.networkUnreachable,
  TimedOut: Reply.hostUnreachable,
  Prohibited: Reply.notAllowed,
  Unknown: Reply.generalFailure
} as const

/** A dial is limited to 10 s at most. */
const tooLate = 30_000

const hostCodes = (host: HostPlan): ReadonlyArray<number> =>
  host.after > tooLate ? [Reply.hostUnreachable] : [host.answer === "ok" ? Reply.succeeded : failureCodes[host.answer]]

const routeCodes = (route: Route): ReadonlyArray<number> => {
  if (route.denied) return [Reply.notAllowed]
  if (route.name !== undefined && route.lookup.outcome !== "found") return [Reply.hostUnreachable]
  const codes = route.hosts.flatMap(hostCodes)
  // Several addresses take turns, and may not all have had theirs when the time is over.
  return route.hosts.length === 1 ? codes : [...codes, Reply.hostUnreachable]
}

const addressOf = (route: Route): Address.Address => {
  const [host] = route.hosts
  return route.name === undefined && host !== undefined
    ? Address.fromInetAddress(host.address)
    : { _tag: "Domain", name: route.name ?? "", port: route.port }
}

const faults = ["version", "methods", "command", "reserved", "type", "domain", "mutated", "truncated"] as const

const planFault = (dice: Dice, users: boolean): Fault => {
  if (dice.chance(0.8)) return "none"
  return dice.pick<Fault>(users ? [...faults, "password", "login version"] : faults)
}

/** The request, with one byte made wrong. */
const wrongRequest = (fault: Fault, request: Uint8Array, dice: Dice): Uint8Array => {
  const bytes = new Uint8Array(request)
  if (fault === "command") bytes[1] = dice.pick([0, 3, 4, 0x80])
  if (fault === "reserved") bytes[2] = 1
  if (fault === "type") bytes[3] = dice.pick([0, 2, 9])
  return fault === "domain" ? Uint8Array.of(5, 1, 0, 3, 3, 0x61, 0x0a, 0x62, 0, 80) : bytes
}

const faultReplies: Partial<Record<Fault, ReadonlyArray<number>>> = {
  command: [Reply.commandNotSupported],
  reserved: [Reply.generalFailure],
  type: [Reply.addressTypeNotSupported],
  domain: [Reply.hostUnreachable],
  truncated: []
}

const expectedOf = (fault: Fault, users: boolean, route: Route): Expected | undefined => {
  const method = users ? 2 : 0
  const status = users ? 0 : undefined
  switch (fault) {
    case "mutated":
      return undefined
    case "version":
      return { method: undefined, status: undefined, replies: [] }
    case "methods":
      return { method: 0xff, status: undefined, replies: [] }
    case "password":
    case "login version":
      return { method, status: 1, replies: [] }
    default:
      return { method, status, replies: faultReplies[fault] ?? routeCodes(route) }
  }
}

/** Cuts off the end of some messages: at least a byte, at most all. */
const truncate = (messages: ReadonlyArray<Uint8Array>, dice: Dice): ReadonlyArray<Uint8Array> => {
  let left = dice.int(0, messages.reduce((size, message) => size + message.length, 0) - 1)
  return messages.map((message) => {
    const kept = message.subarray(0, left)
    left -= kept.length
    return kept
  })
}

export const planHandshake = (dice: Dice, users: boolean, route: Route): Handshake => {
  const fault = planFault(dice, users)
  const optimistic = dice.chance(0.4)
  const methods = fault === "methods" ? [1, 0x80] : users ? dice.pick([[2], [0, 2], [2, 0]]) : dice.pick([[0], [2, 0]])
  const secret = Redacted.make(fault === "password" ? "wrong" : password)
  const request = Request.codec.encode({ command: Request.connect, address: addressOf(route) })
  const messages = [
    Greeting.codec.encode({ methods }),
    ...users ? [PasswordRequest.codec.encode({ username: user, password: secret })] : [],
    wrongRequest(fault, request, dice)
  ]
  if (fault === "version") messages[0]?.set([dice.pick([0, 4, 0x16, 0x47])])
  if (fault === "login version") messages[1]?.set([5])
  if (fault === "mutated") {
    const message = messages[dice.int(0, messages.length - 1)]
    message?.set([dice.int(0, 255)], dice.int(0, message.length - 1))
    // A BIND has two replies.
    const request = messages.at(-1)
    if (request?.[1] === Request.bind) request.set([0], 1)
  }
  const answers: ReadonlyArray<Answer> = users ? ["method", "status", "reply"] : ["method", "reply"]
  const sent = fault === "truncated" ? truncate(messages, dice) : messages
  const slow = dice.pick([0, 0, 0, 20, 2000])
  const pieces = sent.flatMap((message, i) => {
    const cut = dice.cut(message, dice.pick([1, 3, 1000]))
    return cut.map((bytes, j) => ({
      after: dice.chance(0.7) ? 0 : dice.int(0, slow),
      bytes,
      awaits: optimistic || fault === "truncated" || j < cut.length - 1 ? undefined : answers[i]
    }))
  })
  return { fault, optimistic, pieces, expected: expectedOf(fault, users, route) }
}

/** A name for what was asked for, as in the log. */
export const describeRoute = (route: Route): string =>
  `${route.name ?? "literal"} -> ${
    route.hosts.map((host) => `${NetAddress.formatInet(host.address)} ${host.answer} after ${host.after} ms`).join(", ")
  }`
