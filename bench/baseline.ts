/**
 * The yardstick: the least SOCKS5 server that `node:net` and `pipe` give. No authentication, CONNECT to IPv4 literals
 * (RFC 1928), no timeouts, no limits, no log. Listens on the port given as its argument, or on any.
 */
import * as Net from "node:net"

const connect = 1
const ipv4 = 1

const reply = (code: number): Buffer => Buffer.from([5, code, 0, ipv4, 0, 0, 0, 0, 0, 0])

const relay = (client: Net.Socket, host: string, port: number): void => {
  let connected = false
  const target = Net.connect({ host, port, allowHalfOpen: true, noDelay: true }, () => {
    connected = true
    client.write(reply(0))
    client.pipe(target)
    target.pipe(client)
  })
  target.on("error", (error: NodeJS.ErrnoException) => {
    if (connected) client.destroy()
    else client.end(reply(error.code === "ECONNREFUSED" ? 5 : 1))
  })
  client.on("error", () => target.destroy())
}

const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (client) => {
  let head: Buffer = Buffer.alloc(0)
  let greeted = false
  const handshake = (chunk: Buffer): void => {
    head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
    if (!greeted) {
      const length = 2 + (head[1] ?? 255)
      if (head.length < length) return
      if (head[0] !== 5 || !head.subarray(2, length).includes(0)) return void client.end(Buffer.from([5, 0xff]))
      client.write(Buffer.from([5, 0]))
      head = head.subarray(length)
      greeted = true
    }
    if (head.length < 10) return
    client.off("data", handshake)
    if (head[1] !== connect) return void client.end(reply(7))
    if (head[3] !== ipv4) return void client.end(reply(8))
    client.pause()
    if (head.length > 10) client.unshift(head.subarray(10))
    relay(client, head.subarray(4, 8).join("."), head.readUInt16BE(8))
  }
  client.on("data", handshake)
  client.on("error", () => client.destroy())
  client.once("end", () => {
    if (!greeted) client.destroy()
  })
})

server.listen({ host: "127.0.0.1", port: Number(process.argv[2] ?? 0), backlog: 1024 }, () => {
  const address = server.address()
  if (address !== null && typeof address === "object") {
    process.stdout.write(`listening on socks5://127.0.0.1:${address.port}\n`)
  }
})
