/**
 * The four kinds of work, and what each unit of it costs the proxy.
 */
import * as Timers from "node:timers/promises"
import * as Pattern from "../src/bench/Pattern.ts"
import type * as Children from "./Children.ts"
import * as Client from "./Client.ts"
import * as Echo from "./Echo.ts"
import * as Proc from "./Proc.ts"

/** What one measurement gave. */
export interface Sample {
  /** Cost of one unit of work, in the load's unit. */
  readonly cost: number
  /** Units of work that were done. */
  readonly work: number
  /** Seconds that the measured window took. */
  readonly seconds: number
  /** Cores that the proxy used in that window, on average: near 1 when it was the bottleneck. */
  readonly cores: number
  /** Cores that neither the proxy nor the bench used. */
  readonly others: number
  /** How often each kind of failure came. */
  readonly errors: Readonly<Record<string, number>>
}

export interface Load {
  readonly group: "bulk" | "rate" | "rr" | "idle"
  readonly title: string
  readonly digits: number
  /** The highest ratio to the baseline that is accepted. */
  readonly target: number
  /** How many samples a run takes: more where they differ from process to process. */
  readonly samples: number
  readonly run: (proxy: Children.Proxy, target: Children.Target) => Promise<Sample>
}

const concurrency = 64
/** Connections a second of the paced load: what either proxy can take with more than half of its core to spare. */
const pace = 2_000
/** Above this many at once the paced load waits, so that a proxy that can't keep up is not buried. */
const backlog = 512
/** A load with more failures than this is not worth finishing. */
const tooMany = 50

class Errors {
  readonly counts: Record<string, number> = {}
  total = 0

  add(what: string): void {
    this.total++
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}

class Meter {
  readonly proxy: number
  readonly target: number
  private readonly cpu: number
  private readonly ours: number
  private readonly busy: number
  private readonly started: number

  constructor(proxy: Children.Proxy, target: Children.Target) {
    this.proxy = proxy.pid
    this.target = target.pid
    this.busy = Proc.busy()
    this.ours = this.own()
    this.cpu = Proc.cpuSeconds(this.proxy)
    this.started = performance.now()
  }

  private own(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6 + Proc.cpuSeconds(this.target)
  }

  /** CPU seconds of the proxy since the meter was made, and what a sample says of its window. */
  read(): Pick<Sample, "seconds" | "cores" | "others"> & { readonly cpu: number } {
    const seconds = (performance.now() - this.started) / 1_000
    const cpu = Proc.cpuSeconds(this.proxy) - this.cpu
    const others = Proc.busy() - this.busy - cpu - (this.own() - this.ours)
    return { cpu, seconds, cores: cpu / seconds, others: Math.max(0, others / seconds) }
  }
}

/** Opens a connection to an echo port and sees one byte go there and back. */
const exchange = async (
  proxy: Children.Proxy,
  ports: ReadonlyArray<number>,
  number: number
): Promise<Client.Client> => {
  const client = await Client.dial(proxy.address, ports[number % ports.length] ?? 0)
  const answer = client.byte()
  client.socket.write(Buffer.from([number & 255]))
  if (await answer !== (number & 255)) {
    await client.close()
    throw new Error("data: wrong content")
  }
  return client
}

/** Runs pieces of work, {@link concurrency} at a time, while `more` says so; gives how many succeeded. */
const each = async (
  errors: Errors,
  more: (number: number) => boolean,
  work: (number: number) => Promise<void>
): Promise<number> => {
  let next = 0
  let done = 0
  const worker = async (): Promise<void> => {
    while (errors.total < tooMany && more(next)) {
      try {
        await work(next++)
        done++
      } catch (error) {
        errors.add(error instanceof Error ? error.message : String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return done
}

const below = (count: number) => (number: number): boolean => number < count

const during = (seconds: number): () => boolean => {
  const end = performance.now() + seconds * 1_000
  return () => performance.now() < end
}

/** Starts {@link pace} pieces of work a second for some seconds; gives how many succeeded. */
const paced = async (errors: Errors, seconds: number, work: (number: number) => Promise<void>): Promise<number> => {
  const running = new Set<Promise<void>>()
  const started = performance.now()
  let next = 0
  let done = 0
  const start = (number: number): void => {
    const piece = work(number).then(
      () => void done++,
      (error: unknown) => errors.add(error instanceof Error ? error.message : String(error))
    ).finally(() => running.delete(piece))
    running.add(piece)
  }
  while (errors.total < tooMany && performance.now() - started < seconds * 1_000) {
    const due = (performance.now() - started) / 1_000 * pace
    while (next < due && running.size < backlog) start(next++)
    await Timers.setTimeout(1)
  }
  await Promise.all(running)
  return done
}

/**
 * Keeps this process from sleeping. A proxy pays for waking whom it writes to, more than for the write; and the slower
 * it is, the more often does it find its client asleep. On a network it never does: the card takes the packet.
 */
const awake = async <A>(work: () => Promise<A>): Promise<A> => {
  let on = true
  const turn = (): void => {
    if (on) setImmediate(turn)
  }
  turn()
  try {
    return await work()
  } finally {
    on = false
  }
}

/** CPU µs per connection: connect, greeting, request, one byte each way, close. */
const rate =
  (measured: (errors: Errors, visit: (number: number) => Promise<void>) => Promise<number>): Load["run"] =>
  async (proxy, target) => {
    const errors = new Errors()
    // In this process, since it is this one that stays awake.
    const echo = await Echo.listen()
    const visit = async (number: number): Promise<void> => {
      await (await exchange(proxy, echo.ports, number)).close()
    }
    // Until the optimizing compiler is done with the proxy; the steady state is what counts.
    const atLeast = during(2)
    const atMost = during(8)
    await each(errors, (number) => atLeast() || (number < 6_000 && atMost()), visit)
    await Timers.setTimeout(300)
    const meter = new Meter(proxy, target)
    const work = await awake(() => measured(errors, visit))
    // The proxy's own closing belongs to the price.
    await Timers.setTimeout(300)
    const { cpu, ...rest } = meter.read()
    echo.close()
    return { ...rest, work, cost: cpu / work * 1e6, errors: errors.counts }
  }

const pacedRate = rate((errors, visit) => paced(errors, 3, visit))

const saturatedRate = rate((errors, visit) => each(errors, during(2), visit))

/** CPU µs per round trip of 64 bytes, each of 64 connections sending the next when the last is back. */
const roundTrips: Load["run"] = async (proxy, target) => {
  const errors = new Errors()
  let trips = 0
  let stopping = false
  const clients: Array<Client.Client> = []
  await each(errors, below(concurrency), async (number) => {
    const client = await exchange(proxy, target.echo, number)
    clients.push(client)
    const message = Buffer.alloc(64, number)
    let trip = 0
    let back = 0
    const shoot = (): void => {
      message.writeUInt32BE(++trip)
      client.socket.write(message)
    }
    client.onClose = (reason) => errors.add(`data: ${reason ?? "closed by the proxy"}`)
    client.onData = (chunk) => {
      if (back + chunk.length > 64 || message.compare(chunk, 0, chunk.length, back, back + chunk.length) !== 0) {
        return void client.socket.destroy(new Error("wrong content"))
      }
      back += chunk.length
      if (back < 64) return
      back = 0
      trips++
      if (!stopping) shoot()
    }
    shoot()
  })
  await Timers.setTimeout(1_000)
  const meter = new Meter(proxy, target)
  const before = trips
  await Timers.setTimeout(2_000)
  const work = trips - before
  const { cpu, ...rest } = meter.read()
  stopping = true
  await Promise.all(clients.map((client) => client.close()))
  return { ...rest, work, cost: cpu / work * 1e6, errors: errors.counts }
}

/** CPU seconds per GB (10⁹ bytes) downloaded over `streams` connections. */
const bulk = (streams: number): Load["run"] => async (proxy, target) => {
  const errors = new Errors()
  let bytes = 0
  let stopping = false
  const clients: Array<Client.Client> = []
  const ends: Array<Promise<void>> = []
  await each(errors, below(streams), async (stream) => {
    const client = await Client.dial(proxy.address, target.source)
    clients.push(client)
    let total = 0
    let reads = stream
    let tail = Buffer.alloc(0)
    client.onData = (chunk) => {
      // All of what comes after the stop is looked at, but for the count that may stand at its end.
      const looked = stopping ? chunk.length - 8 : reads++ % 64 === 0 ? chunk.length : 0
      if (looked > 0 && !chunk.subarray(0, looked).equals(Pattern.at(stream, total, looked))) {
        return void client.socket.destroy(new Error("wrong content"))
      }
      total += chunk.length
      bytes += chunk.length
      if (stopping) tail = Buffer.concat([tail, chunk.subarray(-8)]).subarray(-8)
    }
    ends.push(
      new Promise((resolve) => {
        client.onClose = (reason) => {
          if (reason !== undefined) errors.add(`data: ${reason}`)
          else if (!stopping) errors.add("data: ended early")
          else if (tail.length < 8 || tail.readBigUInt64BE() !== BigInt(total - 8)) errors.add("data: wrong length")
          resolve()
        }
      })
    )
    client.socket.write(Buffer.from([stream]))
  })
  await Timers.setTimeout(500)
  const meter = new Meter(proxy, target)
  const before = bytes
  await Timers.setTimeout(2_000)
  const work = (bytes - before) / 1e9
  const { cpu, ...rest } = meter.read()
  stopping = true
  for (const client of clients) client.socket.write(Buffer.from([0]))
  await Promise.all(ends)
  return { ...rest, work, cost: cpu / work, errors: errors.counts }
}

/** KiB by which the proxy's PSS grows for each connection that was used once and is kept open. */
const idle = (count: number): Load["run"] => async (proxy, target) => {
  const errors = new Errors()
  const clients: Array<Client.Client> = []
  // The young generation grows to its full size under any load at all; that is no connection's price.
  await each(errors, below(1_000), async (number) => (await exchange(proxy, target.echo, number)).close())
  await Timers.setTimeout(1_000)
  const before = Proc.pss(proxy.pid)
  const meter = new Meter(proxy, target)
  const work = await each(errors, below(count), async (number) => {
    const client = await exchange(proxy, target.echo, number)
    client.hurry(false)
    client.onClose = (reason) => errors.add(`idle: ${reason ?? "closed by the proxy"}`)
    clients.push(client)
  })
  let after = Number.POSITIVE_INFINITY
  for (let sample = 0; sample < 6; sample++) {
    await Timers.setTimeout(500)
    after = Math.min(after, Proc.pss(proxy.pid))
  }
  const { cpu: _cpu, ...rest } = meter.read()
  await Promise.all(clients.map((client) => client.close()))
  return { ...rest, work, cost: (after - before) / work, errors: errors.counts }
}

/** The loads in the order they run; `connections` is the number that `idle` opens. */
export const all = (connections: number): ReadonlyArray<Load> => [
  { group: "bulk", title: "CPU-s per GB, 1 stream", digits: 2, target: 0.6, samples: 2, run: bulk(1) },
  { group: "bulk", title: "CPU-s per GB, 32 streams", digits: 2, target: 0.6, samples: 2, run: bulk(32) },
  {
    group: "rate",
    title: `CPU-µs per connection, ${pace} a second`,
    digits: 0,
    target: 1.6,
    samples: 1,
    run: pacedRate
  },
  {
    group: "rate",
    title: `CPU-µs per connection, ${concurrency} at a time without a pause`,
    digits: 0,
    target: 1.6,
    samples: 1,
    run: saturatedRate
  },
  { group: "rr", title: "CPU-µs per 64-byte round trip", digits: 1, target: 1.2, samples: 1, run: roundTrips },
  {
    group: "idle",
    title: `KiB PSS per idle connection, of ${connections}`,
    digits: 1,
    target: 1.6,
    samples: 1,
    run: idle(connections)
  }
]
