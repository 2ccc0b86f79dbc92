/** Runs one schedule: a proxy, its clients and their targets in a network in memory, under a clock of their own. */
import * as Arr from "effect/Array"
import * as Cause from "effect/Cause"
import * as Clock from "effect/Clock"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FiberSet from "effect/FiberSet"
import * as Logger from "effect/Logger"
import * as Metric from "effect/Metric"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Random from "effect/Random"
import * as Redacted from "effect/Redacted"
import * as TestClock from "effect/testing/TestClock"
import { AccessDenied, AccessPolicy } from "../../src/policy/AccessPolicy.ts"
import * as Users from "../../src/policy/Users.ts"
import type { ConnectionRecord } from "../../src/server/ConnectionLog.ts"
import { ResolveError, type Resolver } from "../../src/transport/Resolver.ts"
import { DialError } from "../../src/transport/Transport.ts"
import { memoryProxy, proxyAddress, type Services, settle } from "../support/Memory.ts"
import { type Dice, dice as makeDice } from "./Dice.ts"
import * as HandshakePlan from "./HandshakePlan.ts"
import { type ClientPlan, type Plan, planSchedule } from "./Plan.ts"
import { Side } from "./Side.ts"
import * as Transcript from "./Transcript.ts"

export interface Client {
  readonly plan: ClientPlan
  /** `undefined`: it could not connect, since the server had stopped. */
  readonly side: Side | undefined
}

/** All that was seen of a schedule. */
export interface Observed {
  readonly plan: Plan
  readonly clients: ReadonlyArray<Client>
  /** Every connection that a target got, with the address that it listens on. */
  readonly targets: ReadonlyArray<{ readonly address: string; readonly side: Side }>
  readonly records: ReadonlyArray<ConnectionRecord & { readonly endedAt: number }>
  readonly refused: number
  readonly interrupted: ReadonlySet<number>
  readonly stopped: boolean
  /** What nobody should see: defects, errors in the log, an interrupt that found nothing. */
  readonly faults: ReadonlyArray<string>
  /** What was there at the end, and should not have been. */
  readonly left: Readonly<Record<string, number>>
  readonly trace: ReadonlyArray<string>
}

/** More than any schedule needs: 600 steps of 10 s. */
const maxSteps = 600
const step = 10_000

const allHosts = (plan: Plan) => plan.clients.flatMap(({ route }) => route.hosts)

const dialOf = (plan: Plan) => {
  const hosts = new Map(allHosts(plan).map((host) => [NetAddress.formatInet(host.address), host]))
  return Effect.fnUntraced(function*(address: NetAddress.InetAddress) {
    const host = hosts.get(NetAddress.formatInet(address))
    if (host === undefined) return
    yield* Effect.sleep(host.after)
    if (host.answer === "ok" || host.answer === "closed") return
    if (host.answer === "never") return yield* Effect.never
    return yield* new DialError({ reason: host.answer, address, code: "EPLANNED" })
  })
}

const resolveOf = (plan: Plan): Resolver["Service"]["resolve"] => {
  const routes = new Map(plan.clients.map(({ route }) => [route.name, route]))
  return Effect.fnUntraced(function*(name) {
    const route = routes.get(name)
    if (route === undefined) return yield* new ResolveError({ reason: "NotFound", name, code: "ENOTFOUND" })
    yield* Effect.sleep(route.lookup.after)
    const { outcome } = route.lookup
    const addresses = route.hosts.map(({ address }) => address.address)
    if (outcome === "found" && Arr.isReadonlyArrayNonEmpty(addresses)) return addresses
    return yield* new ResolveError({ reason: outcome === "found" ? "Failed" : outcome, name, code: "EPLANNED" })
  })
}

const policyOf = (plan: Plan): AccessPolicy["Service"] => {
  const denied = new Set(
    plan.clients.flatMap(({ route }) =>
      route.denied ? [route.name, ...route.hosts.map(({ address }) => NetAddress.formatIp(address.address))] : []
    )
  )
  return {
    authorize: ({ destination: { host } }) =>
      denied.has(typeof host === "string" ? host : NetAddress.formatIp(host))
        ? Effect.fail(new AccessDenied({ rule: "planned" }))
        : AccessPolicy.permit,
    authorizeAddress: () => AccessPolicy.permit
  }
}

const servicesOf = Effect.fnUntraced(function*(plan: Plan) {
  const password = Redacted.make(HandshakePlan.password)
  const users = yield* Effect.orDie(Users.make({ users: [{ name: HandshakePlan.user, password }] }))
  const services: Services = {
    resolve: resolveOf(plan),
    policy: policyOf(plan),
    dialer: { connectTimeout: plan.limits.connect },
    ...plan.users ? { authenticator: users } : undefined
  }
  return services
})

const splitOf = ({ split }: Plan, dice: Dice) => (available: number): number =>
  split === "all" ? available : split === "one" ? 1 : dice.int(1, available)

/** The client's side of the handshake; `false` when it heard that there is no use in going on. */
const open = (side: Side, { handshake }: ClientPlan) =>
  Effect.gen(function*() {
    for (const { after, awaits, bytes } of handshake.pieces) {
      yield* Effect.sleep(after)
      yield* side.peer.connection.write(bytes)
      if (awaits === undefined) continue
      yield* side.peer.until((received) => Transcript.answered(Transcript.read(received), awaits))
      if (side.peer.outcome !== "open" || Transcript.refused(Transcript.read(side.peer.received))) return false
    }
    return handshake.fault !== "truncated"
  })

const simulate = Effect.fnUntraced(function*(trace: (line: string) => void, faults: Array<string>) {
  const dice = yield* makeDice
  const plan = planSchedule(dice)
  const clock = yield* Clock.Clock
  const now = () => clock.currentTimeMillisUnsafe()
  const clients: Array<Client> = []
  const targets: Array<{ readonly address: string; readonly side: Side }> = []
  const endedAt = new Map<number, number>()
  const interrupted = new Set<number>()
  let stopped = false

  const proxy = yield* memoryProxy({
    protocols: ["socks5"],
    handshakeTimeout: plan.limits.handshake,
    idleTimeout: plan.limits.idle,
    halfCloseTimeout: plan.limits.halfClose,
    drainTimeout: plan.limits.drain,
    maxConnections: plan.maxConnections,
    services: yield* servicesOf(plan),
    onEnded: ({ id, reason }) => {
      endedAt.set(id, now())
      trace(`session ${id}: ${reason}`)
    },
    network: {
      capacity: plan.capacity,
      conditions: {
        split: splitOf(plan, dice),
        dial: dialOf(plan),
        ...plan.latency === 0 ? undefined : { latency: () => Duration.millis(dice.int(0, plan.latency)) }
      }
    }
  })

  const actors = yield* FiberSet.make()
  const runActor = yield* FiberSet.runtime(actors)()
  const act = (name: string, actor: Effect.Effect<void>) =>
    runActor(Effect.catchCause(actor, (cause) =>
      Effect.sync(() => {
        if (!Cause.hasInterruptsOnly(cause)) faults.push(`${name}: ${Cause.pretty(cause)}`)
      })))

  for (const host of allHosts(plan)) {
    if (host.answer !== "ok") continue
    const address = NetAddress.formatInet(host.address)
    yield* Effect.orDie(proxy.memory.transport.listen(host.address, {
      admit: () => true,
      failed: (code) => faults.push(code),
      accept: (connection) => {
        const side = new Side(host.side, connection)
        targets.push({ address, side })
        trace(`target ${address} <- ${side.remote}`)
        act(address, side.live(dice, Effect.succeed(true)))
      }
    }))
  }

  for (const [i, client] of plan.clients.entries()) {
    act(
      `client ${i}`,
      Effect.scoped(Effect.gen(function*() {
        yield* Effect.sleep(client.at)
        const connection = yield* Effect.option(proxy.memory.transport.connect(proxyAddress))
        const side = Option.getOrUndefined(Option.map(connection, (it) => new Side(client.side, it)))
        clients.push({ plan: client, side })
        trace(`client ${i}: ${side === undefined ? "refused" : side.local}`)
        if (side === undefined) return
        yield* side.live(dice, open(side, client))
        trace(`client ${i}: ${side.peer.outcome}, has left by ${side.left}`)
      }))
    )
  }

  act(
    "events",
    Effect.gen(function*() {
      for (const { after, what } of plan.events) {
        yield* Effect.sleep(after)
        const list = yield* proxy.sessions.list
        const session = list[dice.int(0, Math.max(0, list.length - 1))]
        if (what === "interrupt" && session === undefined) continue
        trace(`${what} ${what === "interrupt" ? `${session?.id} in ${session?.phase}` : ""}`)
        if (what === "interrupt" && session !== undefined) {
          interrupted.add(session.id)
          if (!(yield* proxy.sessions.interrupt(session.id))) {
            faults.push(`session ${session.id} could not be interrupted`)
          }
          if (Option.isSome(yield* proxy.sessions.get(session.id))) {
            faults.push(`session ${session.id} was interrupted, and is`)
          }
          continue
        }
        stopped = true
        act(what, what === "drain" ? proxy.server.drain : proxy.shutdown)
      }
    })
  )

  let steps = 0
  while (((yield* FiberSet.size(actors)) > 0 || (yield* proxy.sessions.count) > 0) && steps++ < maxSteps) {
    yield* TestClock.adjust(step)
    yield* settle
  }
  const left = {
    actors: yield* FiberSet.size(actors),
    sessions: yield* proxy.sessions.count,
    connections: proxy.memory.open(),
    deadlines: proxy.deadlines()
  }
  const refused = yield* proxy.server.refused
  const listening = proxy.memory.listening() - allHosts(plan).filter(({ answer }) => answer === "ok").length
  if (listening !== (stopped ? 0 : 1)) faults.push(`${listening} listeners, stopped: ${stopped}`)
  yield* proxy.shutdown
  const records = proxy.records.map((record) => ({ ...record, endedAt: endedAt.get(record.id) ?? NaN }))
  return { memory: proxy.memory, left, observed: { plan, clients, targets, records, refused, interrupted, stopped } }
})

/** Counts the sleeps that are not over, in a test clock. */
const countSleeps = Effect.map(Clock.Clock, (clock) => {
  let sleeping = 0
  const counted: Clock.Clock = {
    ...clock,
    sleep: (duration) =>
      Effect.suspend(() => {
        sleeping++
        return Effect.ensuring(clock.sleep(duration), Effect.sync(() => sleeping--))
      })
  }
  return { clock: counted, sleeping: () => sleeping }
})

/** Counts the fibers that have started and not ended. */
const countFibers = () => {
  let running = 0
  const metrics: Metric.FiberRuntimeMetricsService = {
    recordFiberStart: () => {
      running++
    },
    recordFiberEnd: () => {
      running--
    }
  }
  return { metrics, running: () => running }
}

/** The whole schedule of a seed. */
export const run = (seed: number): Effect.Effect<Observed> =>
  Effect.gen(function*() {
    const { clock, sleeping } = yield* countSleeps
    const { metrics, running } = countFibers()
    const lines: Array<string> = []
    const faults: Array<string> = []
    const trace = (line: string) => {
      lines.push(`${clock.currentTimeMillisUnsafe()} ms: ${line}`)
    }
    const logger = Logger.make(({ cause, logLevel, message }) => {
      if (logLevel === "Error" || logLevel === "Fatal") faults.push(`${message} ${Cause.pretty(cause)}`)
    })
    const { left, memory, observed } = yield* simulate(trace, faults).pipe(
      Effect.scoped,
      Effect.orDie,
      Effect.provide(Logger.layer([logger])),
      Effect.provideService(Clock.Clock, clock),
      Effect.provideService(Metric.FiberRuntimeMetrics, metrics)
    )
    yield* settle
    const rest = { fibers: running(), sleeps: sleeping(), ends: memory.open(), listeners: memory.listening() }
    return { ...observed, faults, left: { ...left, ...rest }, trace: lines }
  }).pipe(Effect.provide(TestClock.layer()), Random.withSeed(seed))
