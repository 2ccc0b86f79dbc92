/** What moving bytes costs, when there are always more of them; and what they do to somebody who sends a few. */
import * as Timers from "node:timers/promises"
import * as Pattern from "../src/bench/Pattern.ts"
import type * as Children from "./Children.ts"
import * as Client from "./Client.ts"
import { below, each, Errors, exchange, type Load, Meter } from "./Load.ts"

/** Downloads that go on until they are stopped; what comes is what was sent. */
export class Downloads {
  readonly errors: Errors
  bytes = 0
  private stopping = false
  private readonly clients: Array<Client.Client> = []
  private readonly ends: Array<Promise<void>> = []

  constructor(errors: Errors) {
    this.errors = errors
  }

  async start(proxy: Children.Proxy, target: Children.Target, stream: number): Promise<void> {
    const client = await Client.dial(proxy.address, target.source)
    this.clients.push(client)
    let total = 0
    let reads = stream
    let tail = Buffer.alloc(0)
    client.onData = (chunk) => {
      // All of what comes after the stop is looked at, but for the count that may stand at its end.
      const looked = this.stopping ? chunk.length - 8 : reads++ % 64 === 0 ? chunk.length : 0
      if (looked > 0 && !chunk.subarray(0, looked).equals(Pattern.at(stream, total, looked))) {
        return void client.socket.destroy(new Error("wrong content"))
      }
      total += chunk.length
      this.bytes += chunk.length
      if (this.stopping) tail = Buffer.concat([tail, chunk.subarray(-8)]).subarray(-8)
    }
    this.ends.push(
      new Promise((resolve) => {
        client.onClose = (reason) => {
          if (reason !== undefined) this.errors.add(`data: ${reason}`)
          else if (!this.stopping) this.errors.add("data: ended early")
          else if (tail.length < 8 || tail.readBigUInt64BE() !== BigInt(total - 8)) {
            this.errors.add("data: wrong length")
          }
          resolve()
        }
      })
    )
    client.socket.write(Buffer.from([stream]))
  }

  async stop(): Promise<void> {
    this.stopping = true
    for (const client of this.clients) client.socket.write(Buffer.from([0]))
    await Promise.all(this.ends)
  }
}

/** CPU seconds per GB (10⁹ bytes) downloaded over `streams` connections. */
export const bulk = (streams: number): Load["run"] => async (proxy, target) => {
  const errors = new Errors()
  const downloads = new Downloads(errors)
  await each(errors, below(streams), (stream) => downloads.start(proxy, target, stream))
  await Timers.setTimeout(500)
  const meter = new Meter(proxy, target)
  const before = downloads.bytes
  await Timers.setTimeout(2_000)
  const work = (downloads.bytes - before) / 1e9
  const { cpu, ...rest } = meter.read()
  await downloads.stop()
  return { ...rest, work, cost: cpu / work, errors: errors.counts }
}

/** Milliseconds that 99 % of one connection's round trips of 64 bytes stay below, while `streams` others download. */
export const beside = (streams: number): Load["run"] => async (proxy, target) => {
  const errors = new Errors()
  const downloads = new Downloads(errors)
  const client = await exchange(proxy, target.echo, 0)
  await each(errors, below(streams), (stream) => downloads.start(proxy, target, stream))
  await Timers.setTimeout(500)
  const meter = new Meter(proxy, target)
  const times: Array<number> = []
  const message = Buffer.alloc(64, 1)
  while (performance.now() - meter.started < 5_000) {
    const sent = performance.now()
    await new Promise<void>((resolve, reject) => {
      let back = 0
      client.onClose = (reason) => reject(new Error(`data: ${reason ?? "closed by the proxy"}`))
      client.onData = (chunk) => {
        back += chunk.length
        if (back >= message.length) resolve()
      }
      client.socket.write(message)
    })
    times.push(performance.now() - sent)
  }
  const { cpu: _cpu, ...rest } = meter.read()
  await client.close()
  await downloads.stop()
  const p99 = times.toSorted((a, b) => a - b)[Math.ceil(times.length * 0.99) - 1] ?? Number.NaN
  return { ...rest, work: times.length, cost: p99, errors: errors.counts }
}
