/** A generator of load: one job at a time, from its first connection to its outcome. */
import * as Host from "effect/net/Host"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Negotiation from "../client/Negotiation.ts"
import * as Downloads from "./Downloads.ts"
import * as Failure from "./Failure.ts"
import * as Holds from "./Holds.ts"
import { type Driver, Load, type Mode } from "./Load.ts"
import type { Answer, Order, Proxy } from "./Message.ts"
import * as RoundTrips from "./RoundTrips.ts"
import * as Visits from "./Visits.ts"

const drivers: Readonly<Record<Mode, (load: Load) => Driver>> = {
  rate: Visits.make,
  bulk: Downloads.make,
  "round-trip": RoundTrips.make,
  idle: Holds.make
}

const statsMillis = 50
/** What is under way when the work ends may end too, as long as nothing else is heard of the proxy for no longer. */
const quietMillis = 2_000

const negotiationWith = ({ host, password, port, protocol, user }: Proxy): Negotiation.Negotiation =>
  Negotiation.make({
    protocol,
    address: Host.hostPortUnsafe(Host.hostFromStringUnsafe(host), port),
    ...user !== undefined && { credentials: { user, password: Redacted.make(password ?? "") } }
  })

const cpuSeconds = (): number => {
  const { system, user } = process.cpuUsage()
  return (system + user) / 1e6
}

/** The orders that a job takes until it is done. */
export interface Running {
  readonly go: () => void
  readonly mark: () => void
  readonly stop: () => void
}

/** Begins a job. */
export const run = (
  { job, proxy, targets }: Extract<Order, { readonly _tag: "Load" }>,
  answer: (answer: Answer) => void
): Running => {
  const negotiation = negotiationWith(proxy)
  const requests = targets.map((target) =>
    // Neither protocol that is measured has a target that it can't ask for.
    Result.getOrThrow(negotiation.request(Host.hostPortFromStringUnsafe(target)))
  )
  const load = new Load(job, { ...proxy, negotiation }, requests)
  const driver = drivers[job.mode](load)
  let mark = { units: 0, bytes: 0, cpu: cpuSeconds() }
  const stats = setInterval(() => {
    const { bytes, errors, open, opened, units } = load
    answer({ _tag: "Stats", stats: { open, opened, units, bytes, failures: Failure.total(errors) } })
  }, statsMillis)
  driver.open(() => answer({ _tag: "Ready" }))

  const stop = (): void => {
    load.close()
    const { bytes, units } = load
    const since = { units: units - mark.units, bytes: bytes - mark.bytes, cpuSeconds: cpuSeconds() - mark.cpu }
    let isDone = false
    const done = (): void => {
      if (isDone) return
      isDone = true
      clearInterval(late)
      clearInterval(stats)
      load.giveUp()
      const { errors, opened } = load
      load.end()
      const times = { setup: load.setup.encode(), echo: load.echo.encode() }
      answer({ _tag: "Done", outcome: { ...since, ...times, opened, errors } })
    }
    const patience = job.mode === "idle" ? job.patience + quietMillis : quietMillis
    let heard = { progress: load.progress, at: performance.now() }
    const late = setInterval(() => {
      const { progress } = load
      const now = performance.now()
      if (progress !== heard.progress) heard = { progress, at: now }
      else if (now - heard.at >= patience) done()
    }, statsMillis)
    driver.stop(done)
  }

  return {
    go: driver.go,
    mark: (): void => {
      load.mark()
      mark = { units: load.units, bytes: load.bytes, cpu: cpuSeconds() }
      answer({ _tag: "Marked" })
    },
    stop
  }
}
