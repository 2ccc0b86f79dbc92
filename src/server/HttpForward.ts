/** One HTTP request to its origin, and the response to the client: heads rewritten, content passed on as it comes. */
import * as Effect from "effect/Effect"
import type * as Http from "node:http"
import * as HttpFields from "../protocol/HttpFields.ts"
import type * as HttpTarget from "../protocol/HttpTarget.ts"
import { type Connection, ConnectionError } from "../transport/Connection.ts"
import * as ConnectionDuplex from "../transport/ConnectionDuplex.ts"
import type { Conversation, Failure } from "./HttpConversation.ts"
import { BadResponse } from "./Refusal.ts"
import { RelayError } from "./Relay.ts"
import type { SessionState } from "./SessionState.ts"

/** A request as it goes on. */
export interface Forward extends HttpTarget.Forwarded {
  readonly request: Http.IncomingMessage
  readonly response: Http.ServerResponse
  readonly framing: HttpFields.Framing
}

/** Bytes in the longest head of a response, as Node counts them. */
const maxHeaderSize = 65_536

/** Written, it sends the head as it is; `flushHeaders` would encode what came as latin1 as UTF-8. */
const nothing = Buffer.alloc(0)

/** Without content of their own: for all others, a request that has none says so (RFC 9110 §8.6). */
const withoutContent = new Set(["GET", "HEAD", "DELETE", "OPTIONS", "TRACE"])

/** The fields for the origin: its own Host first, and the framing that the client chose. One request a connection. */
const requestFields = ({ authority, framing, request }: Forward): Array<string> => {
  const fields = ["Host", authority]
  const kept = HttpFields.endToEnd(request.rawHeaders)
  for (let i = 0; i + 1 < kept.length; i += 2) {
    const [name = "", value = ""] = kept.slice(i, i + 2)
    if (name.toLowerCase() !== "host") fields.push(name, value)
  }
  if (framing === "chunked") fields.push("Transfer-Encoding", "chunked")
  if (framing === "none" && !withoutContent.has(request.method ?? "")) fields.push("Content-Length", "0")
  fields.push("Connection", "close")
  return fields
}

/** What an informational response is to the client (RFC 9110 §15.2). */
const informational = ({ rawHeaders, statusCode, statusMessage }: Http.InformationEvent): string => {
  let head = `HTTP/1.1 ${statusCode} ${statusMessage}\r\n`
  const fields = HttpFields.endToEnd(rawHeaders)
  for (let i = 0; i + 1 < fields.length; i += 2) head += `${fields[i]}: ${fields[i + 1]}\r\n`
  return `${head}\r\n`
}

const endOf = (connection: Connection) => () => void Effect.runFork(connection.end)

type ExchangeError = Failure | BadResponse | RelayError

/** Both streams, from the head of the request to the end of the response. */
const talk = (
  session: SessionState,
  conversation: Conversation,
  forward: Forward,
  target: Connection,
  upstream: ConnectionDuplex.ConnectionDuplex
): Effect.Effect<void, ExchangeError> =>
  Effect.callback((resume) => {
    const { framing, path, request, response } = forward
    const endTarget = endOf(target)
    const client = conversation.stream
    let settled = false
    let incoming: Http.IncomingMessage | undefined

    const outgoing = conversation.http.request({
      createConnection: () => upstream,
      headers: requestFields(forward),
      insecureHTTPParser: false,
      maxHeaderSize,
      method: request.method,
      path
    })
    // As for requests: no field is to be dropped.
    outgoing.maxHeadersCount = 0

    const leave = () => {
      settled = true
      conversation.watch(undefined)
      client.off("end", clientEnded)
      request.unpipe(outgoing)
      incoming?.unpipe(response)
      outgoing.destroy()
    }
    const settle = (result: Effect.Effect<void, ExchangeError>) => {
      if (settled) return
      leave()
      resume(result)
    }
    /** A client that has the head of a response can be told nothing more, but must not take a part for all. */
    const fail = (told: ExchangeError, cut: ExchangeError) => {
      if (settled) return
      if (!response.headersSent) return settle(Effect.fail(told))
      // At once: Node may still end the response as if that were all.
      client.destroy()
      settle(Effect.andThen(session.client.reset, Effect.fail(cut)))
    }
    const targetFailed = (why: string) => {
      const error = target.failure ?? new ConnectionError({ reason: "Failed", code: why })
      fail(new BadResponse({ why }), new RelayError({ side: "target", error }))
    }
    // As in a tunnel, the client's end goes on to the origin, which may give up or answer.
    const clientEnded = () => {
      if (settled) return
      session.halfClosed()
      if (outgoing.writableFinished) endTarget()
      else outgoing.once("finish", endTarget)
    }

    outgoing.on("error", (error: NodeJS.ErrnoException) => {
      if (incoming?.complete !== true) targetFailed(error.code ?? error.message)
    })
    outgoing.on("close", () => {
      if (incoming === undefined) targetFailed("closed")
    })
    outgoing.on("information", (information) => {
      if (settled || request.httpVersion === "1.0") return
      // What Node knows of, since a final status without it ends the connection: content may follow or not.
      if (information.statusCode === 100) response.writeContinue()
      else client.write(informational(information), "latin1")
    })
    outgoing.on("response", (message) => {
      if (settled) return
      incoming = message
      message.on("error", (error: NodeJS.ErrnoException) => targetFailed(error.code ?? error.message))
      if (HttpFields.valuesOf(message.rawHeaders, "content-length").length > 1) {
        return targetFailed("more than one content-length field")
      }
      // The client would take what is coded for what is meant: only the framing is undone here.
      const codings = HttpFields.valuesOf(message.rawHeaders, "transfer-encoding").join().toLowerCase()
      if (codings !== "" && codings !== "chunked") return targetFailed("a transfer-encoding other than chunked")
      // What is left of the request is not read, so no other can follow it; and nothing follows during a drain.
      if (!request.complete || session.door.isDraining()) response.shouldKeepAlive = false
      response.sendDate = false
      client.cork()
      try {
        response.writeHead(message.statusCode ?? 0, message.statusMessage, HttpFields.endToEnd(message.rawHeaders))
        response.write(nothing)
      } catch {
        return targetFailed("unusable head")
      } finally {
        // The head goes out with what content is there, and without waiting for any.
        setImmediate(() => client.uncork())
      }
      message.pipe(response)
    })
    response.on("finish", () => settle(Effect.void))
    request.on("error", () => {})
    client.once("end", clientEnded)
    conversation.watch((failure) => {
      // What comes behind a whole request is not its business, unless nobody is there any more.
      if (failure._tag === "ConnectionError" || !request.complete) fail(failure, failure)
    })
    if (client.readableEnded) clientEnded()
    if (settled) return
    if (framing !== "none") outgoing.write(nothing)
    request.pipe(outgoing)
    return Effect.sync(leave)
  })

/** Sends a request over a new connection and its response to the client. Fails before there is one, or cuts both. */
export const exchange = (
  session: SessionState,
  conversation: Conversation,
  forward: Forward,
  target: Connection
): Effect.Effect<void, ExchangeError> =>
  Effect.acquireUseRelease(
    ConnectionDuplex.make(target, {
      readsOn: true,
      received: (bytes) => session.moved("down", bytes),
      sent: (bytes) => {
        session.moved("up", bytes)
        session.delivered()
      }
    }),
    (upstream) => Effect.onError(talk(session, conversation, forward, target, upstream), () => target.reset),
    (upstream) => upstream.detach
  )
