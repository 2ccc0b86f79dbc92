/** What a message there and back costs, when many connections send them. */
import * as Timers from "node:timers/promises"
import type * as Client from "./Client.ts"
import { below, concurrency, each, Errors, exchange, type Load, Meter } from "./Load.ts"

/** CPU µs per round trip of 64 bytes, each of 64 connections sending the next when the last is back. */
export const roundTrips: Load["run"] = async (proxy, target) => {
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
