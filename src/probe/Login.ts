/** Whom the proxy lets in. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import type * as Scope from "effect/Scope"
import * as Negotiation from "../client/Negotiation.ts"
import { BadAnswer, type ProxyError } from "../client/ProxyError.ts"
import type * as ProxyUrl from "../client/ProxyUrl.ts"
import * as Greeting from "../protocol/Greeting.ts"
import * as MethodSelection from "../protocol/MethodSelection.ts"
import * as PasswordReply from "../protocol/PasswordReply.ts"
import * as PasswordRequest from "../protocol/PasswordRequest.ts"
import * as Check from "./Check.ts"
import { fail, type Finding, type Found, ok, skipped, warn } from "./Finding.ts"
import type { Proxy } from "./Proxy.ts"
import { describe } from "./Trouble.ts"

const gssapi = 0x01

const offers = [
  [MethodSelection.noAuthentication, "no authentication"],
  [MethodSelection.usernamePassword, "user name and password"],
  [gssapi, "GSSAPI"]
] as const

/** Methods that are taken though another was offered, as small proxies do that do not look at the offer. */
const known: ReadonlySet<number> = new Set([MethodSelection.noAuthentication, MethodSelection.usernamePassword])

/** A connection on which one method was offered, and the one that the proxy takes instead, if any. */
const offer = Effect.fnUntraced(function*(proxy: Proxy, method: number) {
  const talk = yield* proxy.open
  yield* talk.say(Greeting.codec.encode(Greeting.Greeting.make({ methods: [method] })))
  const selected = (yield* talk.read(MethodSelection.codec)).method
  if (selected !== method && selected !== MethodSelection.noneAcceptable && !known.has(selected)) {
    return yield* new BadAnswer({ proxy: talk.proxy, why: `takes method ${selected}, which was not offered` })
  }
  return { talk, selected: selected === MethodSelection.noneAcceptable ? undefined : selected }
})

/** What is taken where one is offered. Breaking off, or silence, is how some refuse a method. */
const taking = (
  proxy: Proxy,
  method: number,
  limit: Duration.Duration
): Effect.Effect<number | undefined, ProxyError> =>
  Effect.scoped(offer(proxy, method)).pipe(
    Effect.map(({ selected }) => selected),
    Effect.catchTag("ProxyUnreachable", () => Effect.succeed(undefined)),
    Effect.timeoutOrElse({ duration: limit, orElse: () => Effect.succeed(undefined) })
  )

const wrongPort = "does it speak SOCKS5 on this port?"

export const loginAdvice = "give USER@ in the URL, and the password in SLUICE_PROBE_PASSWORD"

/** What a SOCKS5 proxy takes, one connection for each. */
export const methods = ({ proxy, timeout }: Omit<Check.Probing, "ground">): Effect.Effect<Finding> =>
  Check.run(
    "methods",
    timeout,
    Effect.gen(function*() {
      const limit = Duration.times(timeout, 0.8)
      const answers = yield* Effect.forEach(
        offers,
        ([method]) => Effect.map(taking(proxy, method, limit), (selected) => ({ method, selected })),
        { concurrency: 3 }
      )
      const has = (wanted: number) => answers.some(({ method, selected }) => method === wanted && selected === wanted)
      const taken = offers.filter(([method]) => has(method))
      const blind = answers.some(({ method, selected }) => selected !== undefined && selected !== method)
      const detail = taken.map(([, name]) => name).join("; ") + (blind ? "; takes it whatever is offered" : "")
      if (taken.length === 0) return fail("takes none that is known, or does not answer", wrongPort)
      const { noAuthentication, usernamePassword } = MethodSelection
      if (!has(noAuthentication) && !has(usernamePassword)) return fail(detail, "few clients know that")
      if (!has(noAuthentication) && proxy.url.credentials === undefined) {
        return fail(`asks for a login: ${detail}`, loginAdvice)
      }
      if (has(noAuthentication) && !NetAddress.isLoopback(proxy.address.address)) {
        return warn(detail, "serves whoever reaches it: see that only those do who should")
      }
      return blind ? warn(detail, "clients that don't offer that break off") : ok(detail)
    }).pipe(Effect.catchTag("BadAnswer", (error) => Effect.succeed(fail(describe(error), wrongPort))))
  )

/** What becomes of one who wants in; `unasked`: in, but the login was never asked for. */
type Outcome = "in" | "out" | "unasked"

type Attempt = (
  proxy: Proxy,
  credentials: ProxyUrl.Credentials | undefined,
  destination: Host.HostPort
) => Effect.Effect<Outcome, ProxyError, Scope.Scope>

const bySocks5: Attempt = Effect.fnUntraced(function*(
  proxy,
  credentials
): Effect.fn.Return<Outcome, ProxyError, Scope.Scope> {
  const { noAuthentication, usernamePassword } = MethodSelection
  const { selected, talk } = yield* offer(proxy, credentials === undefined ? noAuthentication : usernamePassword)
  if (credentials === undefined) return selected === noAuthentication ? "in" : "out"
  if (selected === undefined) return "out"
  if (selected !== usernamePassword) return "unasked"
  const request = { username: credentials.user, password: credentials.password }
  yield* talk.say(PasswordRequest.codec.encode(PasswordRequest.PasswordRequest.make(request)))
  return (yield* talk.read(PasswordReply.codec)).status === PasswordReply.success ? "in" : "out"
})

/** Whatever else it says of the destination, 407 is the only word on the login. */
const byHttp: Attempt = Effect.fnUntraced(function*(proxy, credentials, destination) {
  const { credentials: _, ...url } = proxy.url
  const negotiation = Negotiation.make(credentials === undefined ? url : { ...url, credentials })
  const request = yield* Effect.fromResult(negotiation.request(destination))
  const talk = yield* proxy.open
  return yield* talk.ask(negotiation, request).pipe(
    Effect.map((): Outcome => "in"),
    Effect.catchTag("StatusError", ({ status }) => Effect.succeed<Outcome>(status === 407 ? "out" : "in"))
  )
})

export const names = ["login", "wrong password", "no login"] as const

/** The given login, a wrong one, and none. `destination` is what HTTP needs to be asked at all. */
export const logins = Effect.fnUntraced(function*(
  { proxy, timeout }: Omit<Check.Probing, "ground">,
  destination: Host.HostPort
) {
  const { credentials } = proxy.url
  if (proxy.family === "socks4") return Check.skip("SOCKS4 has no passwords", names)
  if (credentials === undefined) return Check.skip("no user name is given", names)
  const attempt = proxy.family === "socks5" ? bySocks5 : byHttp
  const check = (
    name: typeof names[number],
    given: ProxyUrl.Credentials | undefined,
    judge: (outcome: Outcome) => Found
  ) =>
    Check.run(
      name,
      timeout,
      attempt(proxy, given, destination).pipe(
        Effect.map(judge),
        // To break off is to refuse.
        Effect.catchTag("ProxyUnreachable", (error) =>
          Effect.succeed(name === "login" ? fail(describe(error)) : ok(`refused: ${describe(error)}`)))
      )
    )
  const [login, wrong, none] = names
  const right = yield* check(
    login,
    credentials,
    (outcome) =>
      outcome === "in"
        ? ok("accepted")
        : outcome === "out"
        ? fail("refused", "check the user name and the password")
        : warn("not asked for", "anybody gets in without a login: is that meant?")
  )
  if (right.verdict === "fail") return [right, ...Check.skip("the login does not work", [wrong, none])]
  const other = Redacted.make(Redacted.value(credentials.password) === "wrong" ? "Wrong" : "wrong")
  return [
    right,
    yield* check(
      wrong,
      { ...credentials, password: other },
      (outcome) =>
        outcome === "in"
          ? fail("accepted", "anybody gets in: check how it is told its users")
          : outcome === "out"
          ? ok("refused")
          : skipped("no login is asked for")
    ),
    yield* check(
      none,
      undefined,
      (outcome) =>
        outcome === "out" ? ok("refused") : warn("accepted", "anybody gets in without a login: is that meant?")
    )
  ]
})
