/** Visits an origin on ::1 through the program, and prints whom the origin saw, as JSON. */
import { spawn } from "node:child_process"
import { once } from "node:events"
import { connect, createServer } from "node:net"
import { createInterface } from "node:readline"
import { fileURLToPath } from "node:url"

const cli = fileURLToPath(new URL("../../dist/cli.js", import.meta.url))
const network = "fd5a:1::/64"

const seen = []
const origin = createServer((socket) => {
  seen.push(socket.remoteAddress)
  socket.end("x")
}).listen(0, "::1")
await once(origin, "listening")
const port = Buffer.alloc(2)
port.writeUInt16BE(origin.address().port)
const request = Buffer.concat([Buffer.from([5, 1, 0, 4]), Buffer.from([...Array(15).fill(0), 1]), port])

const visit = async (proxy, login) => {
  const socket = connect({ host: "::1", port: proxy })
  const next = async () => (await once(socket, "data"))[0]
  socket.write(login === undefined ? Buffer.from([5, 1, 0]) : Buffer.from([5, 1, 2]))
  await next()
  if (login !== undefined) {
    socket.write(
      Buffer.concat([Buffer.from([1, login.length]), Buffer.from(login), Buffer.from([1]), Buffer.from("x")])
    )
    await next()
  }
  socket.write(request)
  await once(socket.resume(), "end")
  socket.destroy()
}

setTimeout(() => process.exit(1), 20_000).unref()

/** Those whom the origin sees in 20 visits. */
const visits = async (args, login) => {
  const child = spawn(process.execPath, [cli, "serve", "--listen", "[::1]:0", "--egress", network, ...args])
  const exited = once(child, "exit")
  child.stderr.pipe(process.stderr)
  const [line] = await once(createInterface(child.stdout), "line")
  const [, listening] = /^listening on socks5:\/\/\[::1\]:(\d+)$/.exec(line)
  seen.length = 0
  for (let count = 0; count < 20; count++) await visit(Number(listening), login)
  child.kill()
  await exited
  return [...seen]
}

const rotating = await visits([])
const sticky = await visits(["--egress-by", "session", "--user", "ann:x"], "ann+7f3")
process.stdout.write(JSON.stringify({ rotating, sticky }))
process.exit()
