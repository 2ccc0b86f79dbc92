/** The far end of the connections: ports that echo, and one that is a source of bytes. Loopback only. */
import * as Net from "node:net"
import * as Pattern from "./Pattern.ts"

export interface Ports {
  readonly echo: ReadonlyArray<number>
  /** Takes the number of a stream as its first byte, and sends that stream's {@link Pattern} until it is cut. */
  readonly source: number
}

/** From one address to one port, a proxy has some 28,000 ports of its own; those in TIME_WAIT are taken for a minute. */
const echoPorts = 16

const echo = (socket: Net.Socket): void => {
  socket.on("data", (chunk) => {
    // A reader that stalls stops the sender: nothing piles up here.
    if (socket.write(chunk)) return
    socket.pause()
    socket.once("drain", () => socket.resume())
  })
  socket.on("error", () => socket.destroy())
}

const source = (socket: Net.Socket): void => {
  let sent = 0
  const pump = (stream: number): void => {
    // A peer as fast as this loop would never let another connection in.
    for (let turn = 0; turn < 8; turn++) {
      if (socket.destroyed) return
      const more = socket.write(Pattern.at(stream, sent, Pattern.largest))
      sent += Pattern.largest
      if (!more) return void socket.once("drain", () => pump(stream))
    }
    setImmediate(() => pump(stream))
  }
  socket.once("data", (chunk) => {
    pump(chunk[0] ?? 0)
    // Else its end would never be seen.
    socket.resume()
  })
  socket.on("error", () => socket.destroy())
}

const listen = (onSocket: (socket: Net.Socket) => void): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer({ noDelay: true }, onSocket)
    server.once("error", reject)
    server.listen({ host: "127.0.0.1", port: 0, backlog: 4_096 }, () => {
      const address = server.address()
      if (address !== null && typeof address === "object") resolve(address.port)
    })
  })

/** Listens on free ports of 127.0.0.1 until the process ends. */
export const serve = async (): Promise<Ports> => ({
  echo: await Promise.all(Array.from({ length: echoPorts }, () => listen(echo))),
  source: await listen(source)
})
