/**
 * The far end of the connections, in a process of its own: ports that echo and one that is a source of bytes. The
 * source takes the number of the stream as its first byte and then sends {@link Pattern}; at the second byte it sends
 * how many bytes that was (8 bytes, big-endian) and ends.
 *
 * Started by `fork`: sends `{ echo: Array<port>, source: port }` to its parent, and ends with it.
 */
import * as Net from "node:net"
import * as Pattern from "./Pattern.ts"

const echoPorts = 16

const echo = (socket: Net.Socket): void => {
  socket.on("data", (chunk) => socket.write(chunk))
  socket.on("error", () => socket.destroy())
}

const source = (socket: Net.Socket): void => {
  let stream = -1
  let sent = 0
  let ended = false
  const pump = (): void => {
    // A peer as fast as this loop would never let the byte in that stops it.
    for (let turn = 0; turn < 8; turn++) {
      if (ended || socket.destroyed) return
      const more = socket.write(Pattern.at(stream, sent, Pattern.largest))
      sent += Pattern.largest
      if (!more) return void socket.once("drain", pump)
    }
    setImmediate(pump)
  }
  socket.on("data", (chunk) => {
    for (const byte of chunk) {
      if (stream === -1) {
        stream = byte
        pump()
      } else if (!ended) {
        ended = true
        const count = Buffer.alloc(8)
        count.writeBigUInt64BE(BigInt(sent))
        socket.end(count)
      }
    }
  })
  socket.on("error", () => socket.destroy())
}

const listen = (onSocket: (socket: Net.Socket) => void): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer({ noDelay: true }, onSocket)
    server.once("error", reject)
    server.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
      const address = server.address()
      if (address !== null && typeof address === "object") resolve(address.port)
    })
  })

process.once("disconnect", () => process.exit(0))
const echoes = await Promise.all(Array.from({ length: echoPorts }, () => listen(echo)))
process.send?.({ echo: echoes, source: await listen(source) })
