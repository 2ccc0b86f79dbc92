/** HTTP as a proxy speaks it: CONNECT, and requests for http:// URLs, which are forwarded (RFC 9110 §3.7, §9.3.6). */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Redacted from "effect/Redacted"
import type { Authenticator } from "../policy/Authenticator.ts"
import * as BasicCredentials from "../protocol/BasicCredentials.ts"
import * as HttpFields from "../protocol/HttpFields.ts"
import * as HttpTarget from "../protocol/HttpTarget.ts"
import { badRequest } from "../protocol/ProtocolError.ts"
import * as Reply from "../protocol/Reply.ts"
import type { ConnectionError } from "../transport/Connection.ts"
import type { Dialect, Forwarding, Wish } from "./Dialect.ts"
import * as HttpConversation from "./HttpConversation.ts"
import * as HttpForward from "./HttpForward.ts"
import * as HttpRejection from "./HttpRejection.ts"
import type { MessageReader } from "./MessageReader.ts"
import { NoAcceptableMethod, type Refusal } from "./Refusal.ts"
import type { RelayError } from "./Relay.ts"
import * as Route from "./Route.ts"
import type { SessionState } from "./SessionState.ts"

type Authenticate = (message: HttpConversation.Message) => Effect.Effect<void, Refusal>

/** Who sends a request: each has its own credentials, which are checked when they are not those of the last one. */
const makeAuthenticate = (session: SessionState, authenticator: Authenticator["Service"]): Authenticate => {
  let known: Redacted.Redacted<string> | undefined
  return Effect.fnUntraced(function*({ request }) {
    if (!authenticator.required) return
    const [value] = HttpFields.valuesOf(request.rawHeaders, "proxy-authorization")
    if (value === undefined) return yield* new NoAcceptableMethod({ wanted: "user name and password" })
    if (known !== undefined && Redacted.value(known) === value) return
    const { password, username } = yield* Effect.fromResult(BasicCredentials.parse(value))
    // Named in the log even when the login fails: an operator wants to see whose door is tried.
    session.user = username
    session.admit(yield* authenticator.authenticate({ username, password, client: session.remote }))
    known = Redacted.make(value)
  })
}

/** What a request asks for, once its head is sound and its sender is known. */
const understand = Effect.fnUntraced(function*(
  session: SessionState,
  authenticate: Authenticate,
  message: HttpConversation.Message
): Effect.fn.Return<Wish | HttpForward.Forward, Refusal> {
  const { request, response } = message
  const { method = "", rawHeaders, url = "" } = request
  // A client that sent HEAD takes the content of an answer for the next answer.
  session.dialect = method === "HEAD" ? dialects.head : dialects.other
  if (request.httpVersion !== "1.1" && request.httpVersion !== "1.0") {
    return yield* badRequest(505, "not HTTP/1.0 or HTTP/1.1")
  }
  const framing = yield* Effect.fromResult(HttpFields.framing(request.httpVersion, rawHeaders))
  if (response === undefined) {
    const address = yield* Effect.fromResult(HttpTarget.fromAuthority(url))
    if (framing === "chunked" || (framing === "length" && request.headers["content-length"] !== "0")) {
      return yield* badRequest(400, "CONNECT has no content")
    }
    yield* authenticate(message)
    return { command: "connect", address }
  }
  const forwarded = yield* Effect.fromResult(HttpTarget.fromAbsolute(method, url))
  // It would send the credentials, and whatever else others have added, back to scripts.
  if (method === "TRACE") return yield* badRequest(501, "TRACE is not served")
  yield* authenticate(message)
  return { ...forwarded, request, response, framing }
})

/** Serves requests for URLs until the client leaves, or wants a tunnel instead. */
const forwardAll = Effect.fnUntraced(function*(
  services: Route.Services,
  session: SessionState,
  conversation: HttpConversation.Conversation,
  next: Effect.Effect<Wish | HttpForward.Forward, HttpConversation.Failure | Refusal>,
  first: HttpForward.Forward
): Effect.fn.Return<Wish | undefined, HttpConversation.Failure | Refusal | RelayError> {
  let forward = first
  while (true) {
    yield* one(services, session, conversation, forward)
    session.target = undefined
    // Node has ended the stream behind an answer that was the last, as either side wanted.
    if (conversation.stream.writableEnded || !forward.request.complete) return yield* leave(session, conversation)
    session.enter("relay")
    const wish = yield* Effect.raceFirst(
      Effect.catchTag(next, "Done", () => Effect.undefined),
      // Between two requests there is nothing to wait for any more.
      Effect.as(session.door.drained, "drained" as const)
    )
    if (wish === "drained") return yield* leave(session, conversation)
    if (wish === undefined || "command" in wish) return wish
    forward = wish
  }
})

/** To the origin and back. The scope closes the origin's connection. */
const one = (
  services: Route.Services,
  session: SessionState,
  conversation: HttpConversation.Conversation,
  forward: HttpForward.Forward
) =>
  Effect.scoped(Effect.gen(function*() {
    session.enter("dial")
    session.reply = undefined
    const target = session.target = yield* Route.dial(services, session, forward.address)
    session.reply = Reply.succeeded
    session.enter("relay")
    yield* HttpForward.exchange(session, conversation, forward, target)
  }))

/** Reads on until the client has seen the end: closing with bytes unread could take the last answer from it. */
const leave = Effect.fnUntraced(function*(session: SessionState, conversation: HttpConversation.Conversation) {
  session.reason ??= "done"
  session.enter("closing")
  yield* conversation.close
  yield* session.client.end
  yield* Effect.ignore(Effect.forever(session.client.pull))
  return undefined
})

const request = (
  session: SessionState,
  reader: MessageReader,
  authenticator: Authenticator["Service"]
): Effect.Effect<Wish | Forwarding, Refusal | ConnectionError | Cause.Done> =>
  Effect.flatMap(
    HttpConversation.open(session.client, reader, () => session.delivered()),
    (conversation) => {
      const authenticate = makeAuthenticate(session, authenticator)
      const next = Effect.flatMap(conversation.next, (message) => understand(session, authenticate, message))
      // It is told so all the same, and logged as sparingly as others that are not for us.
      const first = Effect.tapError(next, () =>
        Effect.sync(() => {
          if (conversation.isSomethingElse) session.looksLike = "text that is no HTTP request"
        }))
      // From then on the connection is the session's again: to refuse on, or to relay.
      const close = Effect.map(conversation.close, (rest) => reader.unread(rest))
      const closeUnlessForward = <A, E>(effect: Effect.Effect<A, E>, goesOn: (result: A) => boolean) =>
        Effect.onExit(effect, (exit) => Exit.isSuccess(exit) && goesOn(exit.value) ? Effect.void : close)
      return Effect.map(
        closeUnlessForward(first, (wish) => !("command" in wish)),
        (wish) =>
          "command" in wish ? wish : {
            command: "forward",
            serve: (services) =>
              closeUnlessForward(forwardAll(services, session, conversation, next, wish), () => false)
          }
      )
    }
  )

const established = new TextEncoder().encode("HTTP/1.1 200 Connection established\r\n\r\n")

const make = (withContent: boolean): Dialect => ({
  protocol: "http",
  request,
  granted: () => established,
  rejection: (error) => HttpRejection.refusal(error, withContent),
  broken: () => HttpRejection.broken(withContent)
})

const dialects = { head: make(false), other: make(true) }

export const dialect: Dialect = dialects.other
