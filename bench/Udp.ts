/** What a datagram costs, when many associations send them. */
import * as Dgram from "node:dgram"
import * as Net from "node:net"
import * as Timers from "node:timers/promises"
import type * as Client from "./Client.ts"
import { below, concurrency, each, Errors, type Load, Meter } from "./Load.ts"

/** Milliseconds after which an association that waits for the proxy counts as failed. */
const patience = 10_000

/** Greeting, and UDP ASSOCIATE from an address that is not known. */
const request = Buffer.from([5, 1, 0, 5, 3, 0, 1, 0, 0, 0, 0, 0, 0])

/** Bytes of the header before each datagram that goes to, or comes from, IPv4. */
const header = 10

/** Looks nothing up: what this process does should cost less than what the proxy does. */
const lookup = (host: string, _: unknown, callback: (error: null, address: string, family: number) => void): void =>
  callback(null, host, 4)

const bind = (): Promise<Dgram.Socket> =>
  new Promise((resolve, reject) => {
    const socket = Dgram.createSocket({ type: "udp4", lookup })
    socket.once("error", reject)
    socket.bind(0, "127.0.0.1", () => resolve(socket))
  })

interface Association {
  readonly control: Net.Socket
  readonly relay: Client.Address
}

const associate = (proxy: Client.Address): Promise<Association> =>
  new Promise((resolve, reject) => {
    let head: Buffer = Buffer.alloc(0)
    const control = Net.connect({ ...proxy, noDelay: true }, () => control.write(request))
    control.setTimeout(patience, () => control.destroy(new Error("timeout")))
    control.on(
      "error",
      (error: NodeJS.ErrnoException) => reject(new Error(`associate: ${error.code ?? error.message}`))
    )
    control.once("close", () => reject(new Error("associate: closed by the proxy")))
    control.on("data", (chunk) => {
      head = Buffer.concat([head, chunk])
      if (head.length < 12) return
      if (head[3] !== 0 || head[5] !== 1) return void control.destroy(new Error(`code ${head[3]}`))
      control.setTimeout(0)
      resolve({ control, relay: { host: head.subarray(6, 10).join("."), port: head.readUInt16BE(10) } })
    })
  })

/**
 * CPU µs per datagram of `size` bytes of data, each of 64 associations sending the next when the last is back: one there
 * and one back count as two.
 */
export const datagrams = (size: number): Load["run"] => async (proxy, target) => {
  const errors = new Errors()
  const echo = await bind()
  echo.on("message", (bytes, { address, port }) => echo.send(bytes, port, address))
  const sockets: Array<Dgram.Socket> = [echo]
  const controls: Array<Net.Socket> = []
  const waiting = new Set<number>()
  let exchanges = 0
  let stopping = false
  await each(errors, below(concurrency), async (number) => {
    const { control, relay } = await associate(proxy.address)
    controls.push(control)
    control.on("close", () => {
      if (!stopping) errors.add("data: closed by the proxy")
    })
    const socket = await bind()
    sockets.push(socket)
    const { port } = echo.address()
    const message = Buffer.alloc(header + size, number)
    message.set([0, 0, 0, 1, 127, 0, 0, 1, port >> 8, port & 255])
    let trip = 0
    const shoot = (): void => {
      waiting.add(number)
      message.writeUInt32BE(++trip, header)
      socket.send(message, relay.port, relay.host)
    }
    socket.on("message", (bytes) => {
      waiting.delete(number)
      if (!message.equals(bytes)) return errors.add("wrong content")
      exchanges++
      if (!stopping) shoot()
    })
    shoot()
  })
  await Timers.setTimeout(1_000)
  const meter = new Meter(proxy, target)
  const before = exchanges
  await Timers.setTimeout(2_000)
  const work = 2 * (exchanges - before)
  const { cpu, ...rest } = meter.read()
  stopping = true
  // What is still on its way has time to come back; nothing gets lost where one datagram waits for the other.
  await Timers.setTimeout(200)
  for (let lost = 0; lost < waiting.size; lost++) errors.add("a datagram was lost")
  for (const control of controls) control.destroy()
  for (const socket of sockets) socket.close()
  return { ...rest, work, cost: cpu / work * 1e6, errors: errors.counts }
}
