/** The requests of one client's connection, as Node's own parser reads them (llhttp). */
import * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import type { Duplex } from "node:stream"
import { badRequest, type ProtocolError } from "../protocol/ProtocolError.ts"
import { type Connection, ConnectionError } from "../transport/Connection.ts"
import * as ConnectionDuplex from "../transport/ConnectionDuplex.ts"
import type { MessageReader } from "./MessageReader.ts"

/** Bytes in the longest head of a request, as Node counts them. */
const maxHeaderSize = 16_384

/** Bytes that are parsed in one go: whoever sends requests ahead has this much of them in memory, and no more. */
const largestPiece = 16_384

/** One request whose head is whole. */
export interface Message {
  readonly request: Http.IncomingMessage
  /** `undefined` with CONNECT: there the parser is done. */
  readonly response: Http.ServerResponse | undefined
}

export type Failure = ProtocolError | ConnectionError | Cause.Done

type NodeHttp = typeof Http

/** The conversation that a stream belongs to, for the server that all of them share. */
const conversations = new WeakMap<Duplex, Conversation>()

const heard: Http.RequestListener = (request, response) =>
  conversations.get(request.socket)?.heard({ request, response })

/** Never listens: it is given its connections, one by one. All time limits are the session's. */
const makeServer = (http: NodeHttp): Http.Server => {
  const server = http.createServer({
    insecureHTTPParser: false,
    maxHeaderSize,
    // The target says more, and Host is replaced by it.
    requireHostHeader: false,
    headersTimeout: 0,
    keepAliveTimeout: 0,
    requestTimeout: 0
  })
  // Node would drop further fields without a word, and with them what they say of the content. The size is limited.
  server.maxHeadersCount = 0
  // A client that has ended its side still gets its answers. It is not in the types.
  Object.assign(server, { httpAllowHalfOpen: true })
  server.on("request", heard)
  // Expectations are the origin's to meet.
  server.on("checkContinue", heard)
  server.on("checkExpectation", heard)
  server.on("connect", (request, socket, head) => {
    conversations.get(socket)?.heard({ request, response: undefined }, head)
  })
  server.on("clientError", (error, socket) => conversations.get(socket)?.failed(error))
  return server
}

let shared: { readonly http: NodeHttp; readonly server: Http.Server } | undefined

/** Only those who speak HTTP pay for loading it. */
const load = Effect.suspend(() =>
  shared !== undefined
    ? Effect.succeed(shared)
    : Effect.map(
      Effect.promise((): Promise<NodeHttp> => import("node:http")),
      (http) => shared ??= { http, server: makeServer(http) }
    )
)

/** What the parser stopped at, in words for the client. */
const failureOf = (error: Error & { readonly code?: string; readonly reason?: string }): Failure => {
  if (error instanceof ConnectionError) return error
  switch (error.code) {
    // The client's end came in the middle of a message.
    case "HPE_INVALID_EOF_STATE":
      return Cause.Done()
    case "HPE_HEADER_OVERFLOW":
      return badRequest(431, `the head is longer than ${maxHeaderSize} bytes`)
    case "HPE_CHUNK_EXTENSIONS_OVERFLOW":
      return badRequest(413, "the chunk extensions are too long")
    case "HPE_INVALID_METHOD":
      return badRequest(501, "the method is unknown")
    case "HPE_INVALID_VERSION":
      return badRequest(400, "the request line does not end with HTTP/1.0 or HTTP/1.1 and CR LF")
    default:
      return badRequest(400, error.reason ?? "it can't be parsed")
  }
}

/** What the parser says where the first line is none of a request's. */
const noRequestLine = new Set(["HPE_INVALID_METHOD", "HPE_INVALID_VERSION", "HPE_INVALID_CONSTANT", "HPE_INVALID_URL"])

export class Conversation {
  readonly http: NodeHttp
  readonly stream: ConnectionDuplex.ConnectionDuplex
  /** Nothing that came was a request, not even in its first line. */
  isSomethingElse = false
  private begun = false
  private readonly waiting: Array<Message> = []
  private head: Uint8Array | undefined = undefined
  private failure: Failure | undefined = undefined
  private wake: (() => void) | undefined = undefined
  private onFailure: ((failure: Failure) => void) | undefined = undefined

  /** Made by `open`. */
  constructor(http: NodeHttp, server: Http.Server, stream: ConnectionDuplex.ConnectionDuplex) {
    this.http = http
    this.stream = stream
    conversations.set(stream, this)
    server.emit("connection", stream)
    stream.on("end", () => this.failed(Cause.Done()))
  }

  /** Called by the parser. No more is read while a message waits, so that a client can't make them grow. */
  heard(message: Message, head?: Uint8Array): void {
    this.head ??= head
    this.begun = true
    this.waiting.push(message)
    this.stream.hold()
    this.wakeUp()
  }

  /** Called by the parser, and by the end of the stream. */
  failed(error: (Error & { readonly code?: string }) | Cause.Done): void {
    // Who has only stopped sending can still be found to be gone.
    if (this.failure !== undefined && !(this.failure._tag === "Done" && error instanceof ConnectionError)) return
    if (error instanceof Error) this.isSomethingElse = !this.begun && noRequestLine.has(error.code ?? "")
    this.failure = error instanceof Error ? failureOf(error) : error
    this.wakeUp()
    this.onFailure?.(this.failure)
  }

  private wakeUp(): void {
    const wake = this.wake
    this.wake = undefined
    wake?.()
  }

  /** The next request; once all have been given, how the stream ended. */
  readonly next: Effect.Effect<Message, Failure> = Effect.suspend(() => {
    const message = this.waiting.shift()
    if (message !== undefined) {
      if (this.waiting.length === 0) this.stream.release()
      return Effect.succeed(message)
    }
    if (this.failure !== undefined) return Effect.fail(this.failure)
    return Effect.andThen(
      Effect.callback<void>((resume) => {
        this.wake = () => resume(Effect.void)
      }),
      this.next
    )
  })

  /** Calls once the stream has ended or failed, at once where it has; `undefined` for nobody. */
  watch(onFailure: ((failure: Failure) => void) | undefined): void {
    this.onFailure = onFailure
    if (this.failure !== undefined) onFailure?.(this.failure)
  }

  /** Gives the connection up, with all that came behind the last request. */
  readonly close: Effect.Effect<Uint8Array> = Effect.suspend(() =>
    Effect.map(this.stream.detach, (rest) => Buffer.concat([this.head ?? new Uint8Array(0), rest]))
  )
}

/** Begins to read requests, from what the reader has and then from the connection, which is the conversation's alone. */
export const open = (
  client: Connection,
  reader: MessageReader,
  delivered: () => void
): Effect.Effect<Conversation> =>
  Effect.flatMap(load, ({ http, server }) =>
    Effect.map(
      ConnectionDuplex.make(client, { early: reader.takeRest(), largestPiece, sent: delivered }),
      (stream) => new Conversation(http, server, stream)
    ))
