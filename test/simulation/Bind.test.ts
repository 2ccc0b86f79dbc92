import { assert, describe, it } from "@effect/vitest"
import type * as Arr from "effect/Array"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as NetAddress from "effect/net/NetAddress"
import * as Random from "effect/Random"
import * as Scope from "effect/Scope"
import { AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import { memoryProxy, pass, type Peer } from "../support/Memory.ts"
import { G0, hex } from "../support/RawClient.ts"
import { dice as makeDice } from "./Dice.ts"

/** Schedules: 75, or a quarter of `SLUICE_SIMULATION_RUNS`. */
const runs = Math.ceil(Number(process.env["SLUICE_SIMULATION_RUNS"] ?? 300) / 4)

/** Runs this one alone. */
const only = process.env["SLUICE_SIMULATION_SEED"]

const bindTimeout = 2000

interface Request {
  readonly bytes: Uint8Array
  readonly skipped: number
  readonly reply: number
  readonly portAt: number
  readonly anybody: boolean
}

/** Requests for 192.0.2.1 or for anybody, and the bytes before and in their first reply. */
const requests: Arr.NonEmptyReadonlyArray<Request> = [
  { bytes: Buffer.concat([G0, hex("05 02 00 01 c0000201 0000")]), skipped: 2, reply: 10, portAt: 8, anybody: false },
  { bytes: Buffer.concat([G0, hex("05 02 00 01 00000000 0000")]), skipped: 2, reply: 10, portAt: 8, anybody: true },
  { bytes: hex("04 02 0000 c0000201 00"), skipped: 0, reply: 8, portAt: 2, anybody: false },
  { bytes: hex("04 02 0000 00000000 00"), skipped: 0, reply: 8, portAt: 2, anybody: true }
]

const isPrefix = (part: Buffer, whole: Uint8Array) => part.equals(whole.subarray(0, part.length))

/** One client that waits, some who come, and anything that may go wrong, at any time. Gives how it ended. */
const schedule = Effect.gen(function*() {
  const dice = yield* makeDice
  const latency = dice.pick([0, 0, 5, 40])
  const judging = dice.pick([0, 0, 100])
  const proxy = yield* memoryProxy({
    bindTimeout,
    idleTimeout: 10_000,
    halfCloseTimeout: 5000,
    drainTimeout: dice.pick([0, 500]),
    network: {
      capacity: dice.pick([16, 1000, 65_536]),
      conditions: {
        split: (available) => dice.int(1, available),
        ...latency === 0 ? undefined : { latency: () => Duration.millis(dice.int(0, latency)) }
      }
    },
    services: {
      policy: {
        authorize: () => Effect.delay(AccessPolicy.permit, judging),
        authorizeAddress: () => AccessPolicy.permit
      }
    }
  })
  const scope = yield* Effect.scope
  const actors = yield* FiberSet.make()
  const act = yield* FiberSet.runtime(actors)()
  const request = dice.pick(requests)
  const client = yield* proxy.connect
  const payload = dice.bytes(dice.pick([0, 10, 3000]))
  const leaves = { after: dice.pick([0, 500, 3000]), reset: dice.chance(0.3) }
  const peers: Array<{ readonly address: string; readonly peer: Peer; readonly payload: Uint8Array }> = []
  yield* client.send(request.bytes)
  yield* pass(1000)
  const before = request.skipped + request.reply
  assert.isAtLeast(client.received.length, before, "the first reply")
  const port = client.received.readUInt16BE(request.skipped + request.portAt)
  const door = NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, port)

  act(Effect.gen(function*() {
    for (const piece of dice.cut(payload, 4)) {
      yield* Effect.sleep(dice.int(0, 400))
      yield* Effect.ignore(client.connection.write(piece))
    }
    yield* Effect.sleep(leaves.after)
    yield* leaves.reset ? client.reset : client.end
  }))
  for (let i = dice.int(0, 5); i > 0; i--) {
    const address = `192.0.2.${dice.pick([1, 1, 2])}:${i}`
    const visit = Effect.gen(function*() {
      yield* Effect.sleep(dice.int(0, 1500))
      const connection = yield* proxy.memory.connectFrom(NetAddress.inetAddressFromStringUnsafe(address), door)
      const peer = yield* proxy.hold(connection)
      const payload = dice.bytes(dice.pick([0, 10, 3000]))
      peers.push({ address, peer, payload })
      yield* connection.write(payload)
      yield* Effect.sleep(dice.int(0, 800))
      yield* dice.chance(0.2) ? peer.reset : peer.end
    })
    act(Effect.provideService(Effect.ignore(visit), Scope.Scope, scope))
  }
  const ending = dice.pick(["none", "none", "none", "interrupt", "shutdown"])
  if (ending !== "none") {
    act(Effect.gen(function*() {
      yield* Effect.sleep(dice.int(0, 1500))
      yield* ending === "shutdown" ? proxy.shutdown : proxy.sessions.interrupt(1)
    }))
  }
  for (let step = 0; step < 40; step++) yield* pass(1000)

  const { records } = proxy
  const left = [
    yield* FiberSet.size(actors),
    yield* proxy.sessions.count,
    proxy.owned(),
    proxy.deadlines(),
    proxy.memory.listening() - (ending === "shutdown" ? 0 : 1)
  ]
  assert.deepStrictEqual(left, [0, 0, 0, 0, 0], "something is left")
  assert.strictEqual(records.length, 1)
  const [record] = records
  const chosen = peers.find(({ address }) => address === record?.address && record?.reply === 0)
  for (const other of peers) {
    if (other !== chosen) assert.strictEqual(other.peer.received.length, 0, "bytes for a stranger")
  }
  if (chosen === undefined) {
    assert.notStrictEqual(record?.reply, 0, "connected with nobody")
    return record?.reason ?? ""
  }
  assert.isTrue(request.anybody || chosen.address.startsWith("192.0.2.1:"), "somebody who was not expected")
  assert.isTrue(isPrefix(chosen.peer.received, payload), "the peer received something else")
  const down = client.received.subarray(before + request.reply)
  assert.isTrue(isPrefix(down, chosen.payload), "the client received something else")
  if (record?.reason === "done") {
    assert.deepStrictEqual([chosen.peer.received.length, down.length], [payload.length, chosen.payload.length], "cut")
  }
  return record?.reason ?? ""
})

describe("Simulation of BIND", () => {
  it.effect(
    "whoever comes and goes, the right two are connected, and nothing is left",
    () =>
      Effect.gen(function*() {
        const first = yield* Random.nextIntBetween(0, 2 ** 31)
        const seeds = only === undefined ? Array.from({ length: runs }, (_, i) => first + i) : [Number(only)]
        const reasons = new Set<string>()
        for (const seed of seeds) {
          const reason = yield* schedule.pipe(
            Effect.scoped,
            Random.withSeed(seed),
            Effect.catchDefect((cause) =>
              Effect.die(
                new Error(`SLUICE_SIMULATION_SEED=${seed}: ${cause instanceof Error ? cause.message : cause}`, {
                  cause
                })
              )
            )
          )
          reasons.add(reason.replace(/^nobody.*/, "nobody"))
        }
        // The schedules are not all alike.
        if (only === undefined) assert.includeMembers([...reasons], ["done", "nobody"])
      }),
    600_000
  )
})
