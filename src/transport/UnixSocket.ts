/** What a Unix socket has that TCP has not: a file, and clients without an address. */
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Fs from "node:fs"
import * as Net from "node:net"
import { dirname } from "node:path"
import { longestPath } from "./ListenAddress.ts"
import { NodeConnection } from "./NodeConnection.ts"
import { codeOf } from "./SocketError.ts"

/** Who comes through a file of this machine is on it. */
const here = NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, 0)

/** A connection without addresses: both its ends are taken for loopback. */
export class UnixConnection extends NodeConnection {
  readonly label: string

  constructor(socket: Net.Socket, plain: boolean, label: string) {
    super(socket, plain)
    this.label = label
  }

  override get local(): NetAddress.InetAddress {
    return here
  }

  override get remote(): NetAddress.InetAddress {
    return here
  }
}

/** Succeeds when somebody takes the connection; fails with the system's code. */
const knock = (path: string): Effect.Effect<void, string> =>
  Effect.callback((resume) => {
    const socket = Net.connect({ path })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.void)
    })
    socket.on("error", (error) => resume(Effect.fail(codeOf(error))))
    return Effect.sync(() => void socket.destroy())
  })

/**
 * Whether a socket is at a path already. Fails with what keeps one from being there: `ENOTSOCK` for another kind of file,
 * or the system's code.
 */
const look = (path: string): Effect.Effect<boolean, string> =>
  // libuv would cut it off on some versions.
  Buffer.byteLength(path) > longestPath
    ? Effect.fail("ENAMETOOLONG")
    : Effect.try({ try: () => Fs.lstatSync(path, { throwIfNoEntry: false }), catch: codeOf }).pipe(
      Effect.filterOrFail((stat) => stat === undefined || stat.isSocket(), () => "ENOTSOCK"),
      Effect.map((stat) => stat !== undefined)
    )

/** Fails with what would keep a process from listening there, whoever does so now. */
export const attempt = (path: string): Effect.Effect<void, string> =>
  Effect.andThen(
    look(path),
    Effect.try({ try: () => Fs.accessSync(dirname(path), Fs.constants.W_OK | Fs.constants.X_OK), catch: codeOf })
  )

/**
 * Makes room for a socket at a path: that of a process that is gone is removed. Fails with `EADDRINUSE` when one is
 * there that somebody listens on, with `ENOTSOCK` when it is another kind of file, which is left alone.
 */
export const claim = Effect.fnUntraced(function*(path: string): Effect.fn.Return<void, string> {
  if (!(yield* look(path))) return
  const code = yield* Effect.match(knock(path), { onSuccess: () => "EADDRINUSE", onFailure: (code) => code })
  if (code === "ENOENT") return
  if (code !== "ECONNREFUSED") return yield* Effect.fail(code === "EACCES" ? code : "EADDRINUSE")
  yield* Effect.try({ try: () => Fs.rmSync(path, { force: true }), catch: codeOf })
})

/** Lets the file's owner and group connect, whatever the umask has left of that, and nobody else. */
export const restrict = (path: string): Effect.Effect<void, string> =>
  Effect.try({ try: () => Fs.chmodSync(path, 0o660), catch: codeOf })
