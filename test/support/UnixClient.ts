/** A client that connects to a Unix socket. */
import * as Effect from "effect/Effect"
import * as Net from "node:net"
import { fromSocket } from "./RawClient.ts"

/** Closes with the scope. */
export const connect = (path: string) =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Net.Socket>((resume) => {
        const socket = Net.connect({ path, allowHalfOpen: true }, () => resume(Effect.succeed(socket)))
        socket.once("error", (error) => resume(Effect.die(error)))
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    fromSocket
  )
