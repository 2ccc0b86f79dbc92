/**
 * The far end of the connections, in a process of its own: ports that echo and one that is a source of bytes. The
 * source takes the number of the stream as its first byte and then sends {@link Pattern}; at the second byte it sends
 * how many bytes that was (8 bytes, big-endian) and ends.
 *
 * Started by `fork`: sends `{ echo: Array<port>, source: port }` to its parent, and ends with it.
 */
import type * as Net from "node:net"
import * as Pattern from "../src/bench/Pattern.ts"
import * as Echo from "./Echo.ts"

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

process.once("disconnect", () => process.exit(0))
process.send?.({ echo: (await Echo.listen()).ports, source: (await Echo.serve(source)).port })
