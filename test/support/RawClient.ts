/** A client that speaks in bytes: what it sends is what the test wrote. */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import * as Net from "node:net"

export class ClientError extends Data.TaggedError("ClientError")<{ readonly code: string }> {
  override get message(): string {
    return this.code
  }
}

export interface RawClient {
  readonly socket: Net.Socket
  readonly send: (...parts: ReadonlyArray<Uint8Array | string>) => Effect.Effect<void>
  /** Exactly `size` bytes; fails when the stream ends or breaks before. */
  readonly read: (size: number) => Effect.Effect<Buffer, ClientError>
  /** Everything up to the end of stream. */
  readonly readToEnd: Effect.Effect<Buffer, ClientError>
  /** Everything up to the end of stream, piece by piece, kept nowhere. */
  readonly readEach: (each: (bytes: Buffer) => void) => Effect.Effect<void, ClientError>
  /** Half-closes. */
  readonly end: Effect.Effect<void>
  readonly reset: Effect.Effect<void>
}

/** Hex with spaces to bytes: `hex("05 01 00")`. */
export const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ""), "hex")

export const port16 = (port: number): Buffer => Buffer.from([port >> 8, port & 255])

/** The notation of the field reports. */
export const G0 = hex("05 01 00")
export const G2 = hex("05 01 02")
export const C4 = (port: number, ip: ReadonlyArray<number> = [127, 0, 0, 1]): Buffer =>
  Buffer.concat([hex("05 01 00 01"), Buffer.from(ip), port16(port)])
export const C6 = (port: number, ip: Uint8Array): Buffer => Buffer.concat([hex("05 01 00 04"), ip, port16(port)])
export const CD = (name: string | Uint8Array, port: number): Buffer => {
  const bytes = Buffer.from(name)
  return Buffer.concat([hex("05 01 00 03"), Buffer.from([bytes.length]), bytes, port16(port)])
}
export const AU = (user: string | Uint8Array, password: string | Uint8Array): Buffer => {
  const [name, secret] = [Buffer.from(user), Buffer.from(password)]
  return Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([secret.length]), secret])
}

export const connect = (
  port: number,
  options?: { readonly host?: string; readonly localAddress?: string }
): Effect.Effect<RawClient, ClientError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.callback<Net.Socket, ClientError>((resume) => {
        const socket = Net.connect({ port, host: "127.0.0.1", noDelay: true, allowHalfOpen: true, ...options })
        const failed = (error: NodeJS.ErrnoException) =>
          resume(Effect.fail(new ClientError({ code: error.code ?? "EUNKNOWN" })))
        socket.once("error", failed)
        socket.once("connect", () => {
          socket.off("error", failed)
          resume(Effect.succeed(socket))
        })
      }),
      (socket) => Effect.sync(() => socket.destroy())
    ),
    fromSocket
  )

/** Over a socket that is connected, and that closes with the scope of whoever made it. */
export const fromSocket = (socket: Net.Socket): RawClient => {
  let ended = false
  let failure: ClientError | undefined
  const wakers = new Set<() => void>()
  const wake = () => {
    for (const waker of wakers) waker()
  }
  socket.on("error", (error: NodeJS.ErrnoException) => {
    failure ??= new ClientError({ code: error.code ?? "EUNKNOWN" })
    wake()
  })
  socket.on("end", () => {
    ended = true
    wake()
  })
  socket.on("close", () => {
    failure ??= new ClientError({ code: "ECLOSED" })
    wake()
  })
  socket.on("readable", wake)

  const until = <A>(poll: () => Effect.Effect<A, ClientError> | undefined): Effect.Effect<A, ClientError> =>
    Effect.callback((resume) => {
      const waker = () => {
        const result = poll()
        if (result === undefined) return
        wakers.delete(waker)
        resume(result)
      }
      wakers.add(waker)
      waker()
      return Effect.sync(() => {
        wakers.delete(waker)
      })
    })

  const read = (size: number) =>
    until<Buffer>(() => {
      if (size === 0) return Effect.succeed(Buffer.alloc(0))
      // Asks for that many, and gets fewer only when the stream has ended.
      const bytes = socket.read(size) as Buffer | null
      if (bytes?.length === size) return Effect.succeed(bytes)
      if (ended || bytes !== null) {
        return Effect.fail(new ClientError({ code: `EEND after ${bytes?.length ?? 0} of ${size}` }))
      }
      return failure === undefined ? undefined : Effect.fail(failure)
    })

  const readEach = (each: (bytes: Buffer) => void) =>
    until<void>(() => {
      for (let part = socket.read() as Buffer | null; part !== null; part = socket.read() as Buffer | null) each(part)
      if (ended) return Effect.void
      return failure === undefined ? undefined : Effect.fail(failure)
    })

  const readToEnd = Effect.suspend(() => {
    const parts: Array<Buffer> = []
    return Effect.map(readEach((part) => parts.push(part)), () => Buffer.concat(parts))
  })

  return {
    socket,
    send: (...parts) =>
      Effect.sync(() => {
        socket.write(Buffer.concat(parts.map((part) => Buffer.from(part))))
      }),
    read,
    readToEnd,
    readEach,
    end: Effect.sync(() => {
      socket.end()
    }),
    reset: Effect.sync(() => {
      socket.resetAndDestroy()
    })
  }
}

/** The bytes of a success or failure reply, by its address type. */
export const readReply = Effect.fnUntraced(function*(client: RawClient) {
  const head = yield* client.read(4)
  const rest = yield* client.read(head[3] === 4 ? 18 : 6)
  return Buffer.concat([head, rest])
})

/** Greets, logs in with `login` where it is given, and connects to a loopback port; fails unless the proxy says yes. */
export const connectThrough = Effect.fnUntraced(function*(proxyPort: number, targetPort: number, login?: Uint8Array) {
  const client = yield* connect(proxyPort)
  yield* login === undefined ? client.send(G0, C4(targetPort)) : client.send(G2, login, C4(targetPort))
  yield* client.read(login === undefined ? 2 : 4)
  const reply = yield* readReply(client)
  if (reply[1] !== 0) return yield* new ClientError({ code: `REP ${reply[1]}` })
  return client
})

/** The field reports' probe: the process is alive and serves. */
export const probe = Effect.fnUntraced(function*(proxyPort: number, echoPort: number, login?: Uint8Array) {
  const client = yield* connectThrough(proxyPort, echoPort, login)
  yield* client.send("ping")
  return (yield* client.read(4)).toString() === "ping"
}, Effect.scoped)

/** Whether nobody listens on a port of 127.0.0.1 any more. */
export const refusesConnections = (port: number) =>
  Effect.callback<boolean>((resume) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    socket.once("connect", () => {
      socket.destroy()
      resume(Effect.succeed(false))
    })
    socket.once("error", () => resume(Effect.succeed(true)))
  })

/** The whole reply to a request. */
export const ask = Effect.fnUntraced(function*(port: number, request: Uint8Array) {
  const client = yield* connect(port)
  yield* client.send(G0, request)
  yield* client.read(2)
  return yield* readReply(client)
}, Effect.scoped)
