/** What holds for every schedule, whatever happened in it. */
import { assert } from "@effect/vitest"
import * as Address from "../../src/protocol/Address.ts"
import type { Side } from "./Side.ts"
import * as Transcript from "./Transcript.ts"
import type { Client, Observed } from "./World.ts"

type Record = Observed["records"][number]

/** The proxy made an end of a relay that was not over. */
const cuts = new Set(["interrupted", "server stopped", "idle timeout", "half-closed timeout"])

const isCut = ({ reason }: Record): boolean => cuts.has(reason)

/** A session that ended before its relay, with an answer. */
const isRefusal = ({ reason, reply }: Record): boolean =>
  reply !== undefined ? reply !== 0 : /^(no acceptable method|authentication failed|password request)/.test(reason)

/** Bytes of the three answers, with an IPv4 address. */
const longestAnswers = 2 + 2 + 10

const isPrefix = (part: Uint8Array, whole: Uint8Array): boolean =>
  part.length <= whole.length && Buffer.compare(part, whole.subarray(0, part.length)) === 0

/** What one side got is what the other sent, up to where it was cut; and an end means all of it. */
const checkDirection = (name: string, from: Side, to: Side, received: Uint8Array, record: Record) => {
  assert.isTrue(isPrefix(received, from.plan.payload), `${name}: received something else than was sent`)
  assert.isAtMost(received.length, from.sent, `${name}: received more than was sent`)
  if (to.peer.outcome === "end" && !isCut(record)) {
    assert.isTrue(from.ended, `${name}: an end of stream that nobody made`)
    assert.strictEqual(received.length, from.sent, `${name}: an end of stream before all was there`)
  }
  if (record.reason === "done") {
    assert.isTrue(from.ended, `${name}: done before the end`)
    if (to.left === undefined || to.peer.outcome === "end") {
      assert.strictEqual(to.peer.outcome, "end", `${name}: not ended`)
    }
  }
}

const isEager = ({ plan: { reading } }: Side): boolean => reading.each === 0 && reading.first <= 40

/** Where nobody and nothing is slow, an end of stream is passed on when it comes, and not with the end of the session. */
const checkPromptness = (from: Side, to: Side, target: Side, latency: number) => {
  if (latency > 0 || !isEager(from) || !isEager(to) || to.peer.outcome !== "end" || !from.ended) return
  assert.isAtMost(to.heardAt, Math.max(from.endedAt, target.beganAt) + 40, "an end of stream that came late")
}

const checkRelay = (client: Side, target: Side, record: Record, latency: number, payload: Uint8Array) => {
  checkDirection("up", client, target, target.peer.received, record)
  checkDirection("down", target, client, payload, record)
  checkPromptness(client, target, target, latency)
  checkPromptness(target, client, target, latency)
  assert.isAtLeast(record.bytesUp, target.peer.received.length)
  assert.isAtMost(record.bytesUp, client.sent)
  assert.isAtLeast(record.bytesDown, payload.length)
  assert.isAtMost(record.bytesDown, target.sent)
  if (record.reason === "done") {
    assert.deepStrictEqual(
      [record.bytesUp, record.bytesDown],
      [client.sent, target.sent],
      "done, and bytes are missing"
    )
  }
  if (record.reason.startsWith("client connection")) assert.isDefined(client.left, record.reason)
  if (record.reason.startsWith("target connection")) assert.isDefined(target.left, record.reason)
  // Once nobody is there, no timeout is needed to notice.
  const alone = Math.max(client.leftAt, target.leftAt)
  if (Number.isFinite(alone)) assert.isAtMost(record.endedAt, alone + 3 * latency, "ended late")
}

/** Every reason has its cause. */
const checkReason = (observed: Observed, client: Client, side: Side, record: Record) => {
  const { limits } = observed.plan
  const { reason } = record
  const cause = (holds: boolean) => assert.isTrue(holds, `no cause for "${reason}"`)
  if (reason === "interrupted") return cause(observed.interrupted.has(record.id))
  if (reason === "server stopped") return cause(observed.stopped)
  if (reason === "handshake timeout") return assert.strictEqual(record.duration, limits.handshake)
  if (reason === "idle timeout") return cause(limits.idle > 0 && record.duration >= limits.idle)
  if (reason === "half-closed timeout") return cause(limits.idle > 0 || limits.halfClose > 0)
  if (reason.startsWith("client left")) return cause(side.ended || side.left !== undefined)
  if (reason.startsWith("client connection")) return cause(side.left !== undefined)
  if (reason === "done" || reason.startsWith("target connection")) return cause(record.reply === 0)
  // All others are refusals.
  const { expected } = client.plan.handshake
  const refusal = expected === undefined || expected.method === undefined || expected.method === 0xff ||
    expected.status === 1 || (record.reply !== undefined && record.reply !== 0)
  cause(refusal)
}

/** A refused client that reads on gets the refusal whole, even where the connection is reset a second later. */
const isHeard = ({ interrupted, plan, stopped }: Observed, side: Side, record: Record): boolean => {
  const { each, first } = side.plan.reading
  const prompt = first + longestAnswers * (each + plan.latency) < 1000
  return prompt && !stopped && !interrupted.has(record.id) && isRefusal(record) && side.peer.outcome === "reset"
}

/** The answers are those that the plan asks for, each there once, and the one in the log. */
const checkAnswers = (
  observed: Observed,
  client: Client,
  side: Side,
  transcript: Transcript.Transcript,
  record: Record
) => {
  const { expected } = client.plan.handshake
  assert.isUndefined(transcript.violation)
  const { method, reply, status } = transcript
  if (expected !== undefined) {
    if (method !== undefined) assert.strictEqual(method, expected.method, "method")
    if (status !== undefined) assert.strictEqual(status, expected.status, "status")
    if (reply !== undefined) assert.include(expected.replies, reply.code, "reply")
  }
  if (reply !== undefined) assert.strictEqual(reply.code, record.reply, "the reply in the log")
  if (side.peer.outcome !== "end" && !isHeard(observed, side, record)) return
  assert.strictEqual(reply?.code, record.reply, "an end of stream before the reply")
  if (record.reason.startsWith("no acceptable method")) assert.strictEqual(method, 0xff)
  if (record.reason.startsWith("authentication failed")) assert.strictEqual(status, 1)
}

const checkClient = (observed: Observed, client: Client, side: Side) => {
  assert.notStrictEqual(side.peer.outcome, "open", "the client has not ended")
  const records = observed.records.filter((record) => record.client === side.local)
  const [record] = records
  if (record === undefined) {
    assert.strictEqual(side.peer.received.length, 0, "answers without a session")
    return
  }
  assert.strictEqual(records.length, 1, "a session is logged once")
  const transcript = Transcript.read(side.peer.received)
  checkReason(observed, client, side, record)
  checkAnswers(observed, client, side, transcript, record)
  if (record.reply !== 0) return
  const bound = transcript.reply?.address
  const targets = observed.targets.filter((target) => target.address === record.address)
  assert.strictEqual(targets.length, 1, "the dialled target")
  for (const target of targets) {
    if (bound !== undefined) {
      const { remote } = target.side.peer.connection
      assert.deepStrictEqual(bound, Address.fromInetAddress(remote), "the bound address")
    }
    checkRelay(side, target.side, record, observed.plan.latency, transcript.payload)
  }
}

const checkTarget = (observed: Observed, { address, side }: Observed["targets"][number]) => {
  assert.notStrictEqual(side.peer.outcome, "open", "the target has not ended")
  const relayed = observed.records.some((record) => record.address === address && record.reply === 0)
  if (!relayed) assert.strictEqual(side.peer.received.length, 0, "bytes for a target that lost the race")
}

/** Throws at the first that does not hold. */
export const check = (observed: Observed): void => {
  assert.deepStrictEqual(observed.faults, [])
  assert.deepStrictEqual(Object.entries(observed.left).filter(([, count]) => count !== 0), [], "something is left")
  let admitted = 0
  for (const client of observed.clients) {
    const { side } = client
    if (side === undefined) {
      assert.isTrue(observed.stopped, "refused by a server that runs")
      continue
    }
    checkClient(observed, client, side)
    if (observed.records.some((record) => record.client === side.local)) admitted++
  }
  for (const target of observed.targets) checkTarget(observed, target)
  const connected = observed.clients.filter(({ side }) => side !== undefined).length
  assert.strictEqual(observed.clients.length, observed.plan.clients.length)
  assert.strictEqual(connected - admitted, observed.refused, "clients that were turned away")
  const ids = observed.records.map(({ id }) => id).sort((a, b) => a - b)
  assert.deepStrictEqual(ids, ids.map((_, i) => i + 1), "every session is logged once")
  assert.strictEqual(ids.length, admitted)
}
