/** Servers on loopback for a proxy to reach. */
import * as Effect from "effect/Effect"
import * as Net from "node:net"

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

/** Sends back what it gets, and ends when the client has. */
export const echo = (host?: string) => target((socket) => socket.pipe(socket), host)

/** Accepts and says nothing. */
export const silent = target((socket) => socket.pause())

/** A port that nobody listens on. */
export const closedPort = Effect.map(
  Effect.scoped(echo()),
  ({ port }) => port
)
