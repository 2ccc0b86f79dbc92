/** Handshakes that no client would send, made from a seed: the same seed makes the same ones. */
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"
import { AU, C4, C6, CD, G0, G2, hex, port16 } from "./RawClient.ts"

/** How a client leaves: half-closing, with a reset, without reading the answer, or not before the server does. */
const endings = ["finish", "reset", "vanish", "stay"] as const

export interface Attempt {
  /** Where it goes: to a proxy for everybody, or to one with `users`. */
  readonly to: "open" | "guarded"
  /** Each is sent on its own. */
  readonly pieces: ReadonlyArray<Buffer>
  /** Milliseconds after each piece. */
  readonly pauses: ReadonlyArray<number>
  readonly ending: typeof endings[number]
}

/** Draws of one seed. */
interface Dice {
  /** 0 to `sides` - 1. */
  readonly roll: (sides: number) => number
  readonly pick: <const A>(choices: readonly [A, ...Array<A>]) => A
  readonly noise: (longest: number) => Buffer
}

const makeDice = (random: typeof Random.Random.Service): Dice => {
  const roll = (sides: number) => Math.floor(random.nextDoubleUnsafe() * sides)
  return {
    roll,
    pick: (choices) => choices[roll(choices.length)] ?? choices[0],
    noise: (longest) => Buffer.from(Array.from({ length: roll(longest + 1) }, () => roll(256)))
  }
}

export const users = { name: "user", password: "pass" }

const address = ({ noise, pick, roll }: Dice): Buffer =>
  pick([
    () => C4(roll(65536), [roll(256), roll(256), roll(256), roll(256)]),
    () => C6(roll(65536), Buffer.from(Array.from({ length: 16 }, () => roll(256)))),
    () => CD("host.test", roll(65536)),
    () => CD(noise(255), roll(65536))
  ])()

/** Right up to somewhere, and noise from there on. */
const random = (dice: Dice): Buffer => {
  const { noise, pick, roll } = dice
  const methods = noise(255)
  const greeting = Buffer.concat([hex("05"), Buffer.from([methods.length]), methods])
  return pick([
    () => noise(600),
    () => Buffer.concat([hex("05"), noise(600)]),
    () => Buffer.concat([hex("04"), noise(600)]),
    () => Buffer.concat([hex("04 01"), port16(roll(65536)), hex("00 00 00 01 00"), noise(300), hex("00")]),
    () => Buffer.concat([greeting, noise(300)]),
    () => Buffer.concat([G0, noise(300)]),
    () => Buffer.concat([G2, AU(noise(255), noise(255)), noise(300)]),
    () => Buffer.concat([G2, AU(users.name, users.password), noise(300)]),
    () => Buffer.concat([G0, hex("05 01 00"), Buffer.from([pick([1, 3, 4])]), noise(300)]),
    () => Buffer.concat([G0, hex("05"), Buffer.from([roll(256)]), hex("00 03"), noise(300), port16(roll(65536))]),
    () => Buffer.concat([G0, address(dice), noise(300)])
  ])()
}

const replaced = (bytes: Buffer, at: number, size: number, by: Uint8Array) =>
  Buffer.concat([bytes.subarray(0, at), by, bytes.subarray(at + size)])

/** One change to bytes that were right. */
const mutate = (bytes: Buffer, { noise, pick, roll }: Dice): Buffer => {
  const at = roll(bytes.length)
  const byte = bytes[at] ?? 0
  return pick([
    () => replaced(bytes, at, 1, Uint8Array.of(byte ^ (1 << roll(8)))),
    () => replaced(bytes, at, 1, Uint8Array.of(pick([0, 1, 127, 128, 254, 255]))),
    () => replaced(bytes, at, 1, Uint8Array.of(byte + pick([1, -1]))),
    () => replaced(bytes, at, 1 + roll(4), Uint8Array.of()),
    () => replaced(bytes, at, 0, noise(8)),
    () => replaced(bytes, at, 0, bytes.subarray(0, roll(bytes.length))),
    () => bytes.subarray(0, at)
  ])()
}

/** A right handshake with payload, and then one to three changes. */
const mutated = (dice: Dice, to: Attempt["to"]): Buffer => {
  const { roll } = dice
  const greeting = to === "open" ? G0 : Buffer.concat([G2, AU(users.name, users.password)])
  let bytes: Buffer = Buffer.concat([greeting, address(dice), Buffer.from("payload")])
  for (let changes = 1 + roll(3); changes > 0 && bytes.length > 0; changes--) bytes = mutate(bytes, dice)
  return bytes
}

/** Requests to an HTTP proxy, one after the other, and then up to three changes. */
const http = (dice: Dice, to: Attempt["to"]): Buffer => {
  const { pick, roll } = dice
  const login = to === "open" ? "" : `Proxy-Authorization: Basic ${btoa(`${users.name}:${users.password}`)}\r\n`
  const host = () => `${pick([`10.0.0.${roll(256)}`, "[fd00::1]", "host.test", "hosts.test"])}:${1 + roll(65535)}`
  const request = () =>
    pick([
      () => `CONNECT ${host()} HTTP/1.1\r\n${login}\r\npayload`,
      () => `GET http://${host()}/a?b HTTP/1.${roll(2)}\r\nHost: a\r\n${login}\r\n`,
      () => `PUT http://${host()}/ HTTP/1.1\r\nContent-Length: 7\r\n${login}Connection: close\r\n\r\npayload`,
      () => `POST http://${host()}/ HTTP/1.1\r\n${login}Transfer-Encoding: chunked\r\n\r\n7\r\npayload\r\n0\r\n\r\n`,
      () => `PUT http://${host()}/ HTTP/1.1\r\nContent-Length: 7\r\n${login}Expect: 100-continue\r\n\r\n`
    ])()
  let bytes = Buffer.from(Array.from({ length: 1 + roll(3) }, request).join(""))
  for (let changes = roll(4); changes > 0 && bytes.length > 0; changes--) bytes = Buffer.from(mutate(bytes, dice))
  return bytes
}

const makers = { random, mutated, http }

const attempt = (kind: keyof typeof makers, dice: Dice): Attempt => {
  const { pick, roll } = dice
  const to = pick(["open", "guarded"])
  const bytes = makers[kind](dice, to)
  const cuts = Array.from({ length: roll(5) }, () => roll(bytes.length + 1)).sort((a, b) => a - b)
  const pieces = [0, ...cuts].map((start, i) => bytes.subarray(start, cuts[i] ?? bytes.length))
  return {
    to,
    pieces: roll(4) === 0 ? pieces.slice(0, roll(pieces.length + 1)) : pieces,
    pauses: pieces.map(() => pick([0, 0, 1, 3])),
    // Few stay, since each of those takes until the handshake's time is over.
    ending: pick(["finish", "finish", "finish", "reset", "reset", "vanish", ...endings])
  }
}

/** So many handshakes of a kind. */
export const make = (kind: keyof typeof makers, count: number, seed: string): Effect.Effect<Array<Attempt>> =>
  Effect.map(Random.Random, (random) => {
    const dice = makeDice(random)
    return Array.from({ length: count }, () => attempt(kind, dice))
  }).pipe(Random.withSeed(seed))
