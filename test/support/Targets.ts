/** Servers on loopback for a proxy to reach. */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { Worker } from "node:worker_threads"

export interface Target {
  readonly port: number
  /** The connections that are open. */
  readonly open: Set<Net.Socket>
  /** How many there have been. */
  readonly accepted: () => number
}

/** Listens on a free loopback port; each client goes to `handler`. */
export const target = (handler: (socket: Net.Socket) => void, host = "127.0.0.1") =>
  Effect.acquireRelease(
    Effect.callback<Target & { readonly server: Net.Server }>((resume) => {
      const open = new Set<Net.Socket>()
      let accepted = 0
      const server = Net.createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
        accepted++
        open.add(socket)
        socket.on("close", () => open.delete(socket))
        socket.on("error", () => {})
        handler(socket)
      })
      server.listen(0, host, () => {
        const address = server.address()
        const port = typeof address === "object" && address !== null ? address.port : 0
        resume(Effect.succeed({ server, port, open, accepted: () => accepted }))
      })
    }),
    ({ open, server }) =>
      Effect.sync(() => {
        for (const socket of open) socket.destroy()
        server.close()
      })
  )

/** Sends back what it gets, and notes from which address each has come. */
export const noting = Effect.gen(function*() {
  const from: Array<string | undefined> = []
  const origin = yield* target((socket) => {
    from.push(socket.remoteAddress)
    socket.pipe(socket)
  })
  return { ...origin, from }
})

/** Sends back what it gets, and ends when the client has. */
export const echo = (host?: string) => target((socket) => socket.pipe(socket), host)

/** Accepts and says nothing. */
export const silent = target((socket) => socket.pause())

/** A port that nobody listens on. */
export const closedPort = Effect.map(
  Effect.scoped(echo()),
  ({ port }) => port
)

/** Never accepts: its thread sleeps. The kernel's queue (listen(2)) has room for two. */
const sleeper = `
  const { parentPort } = require("node:worker_threads")
  const server = require("node:net").createServer().listen({ port: 0, host: "127.0.0.1", backlog: 1 }, () => {
    parentPort.postMessage(server.address().port)
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
  })
`

const connected = (port: number) =>
  Effect.acquireRelease(
    Effect.callback<Net.Socket>((resume) => {
      const socket = Net.connect({ port, host: "127.0.0.1" }, () => resume(Effect.succeed(socket)))
      socket.on("error", (error) => resume(Effect.die(error)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

/** A port with a full queue: connecting to it neither succeeds nor fails. */
export const stalled = Effect.gen(function*() {
  const worker = yield* Effect.acquireRelease(
    Effect.sync(() => new Worker(sleeper, { eval: true })),
    (worker) => Effect.promise(() => worker.terminate())
  )
  const port = yield* Effect.callback<number>((resume) => {
    worker.once("message", (port: number) => resume(Effect.succeed(port)))
    worker.once("error", (error) => resume(Effect.die(error)))
  })
  yield* connected(port)
  yield* connected(port)
  return port
})
