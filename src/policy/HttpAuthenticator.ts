/**
 * Logins that an HTTP service decides: POST of `{user, password, client}` as JSON. 200 lets the client in, with what else
 * the service knows of it; 401 does not. Any other answer, or none in time, lets nobody in.
 */
import * as Clock from "effect/Clock"
import * as Data from "effect/Data"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as HttpClient from "effect/http/HttpClient"
import type * as HttpClientError from "effect/http/HttpClientError"
import * as HttpClientRequest from "effect/http/HttpClientRequest"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as CircuitBreaker from "effect/persistence/CircuitBreaker"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaIssue from "effect/SchemaIssue"
import type * as Scope from "effect/Scope"
import * as Semaphore from "effect/Semaphore"
import * as Stream from "effect/Stream"
import * as Egress from "../transport/Egress.ts"
import { AuthenticationFailed, Authenticator, type Credentials, type Identity } from "./Authenticator.ts"
import * as UserFields from "./UserFields.ts"
import * as VerifiedLogins from "./VerifiedLogins.ts"

export interface Options {
  /** `http://` or `https://`. */
  readonly url: string
  /** How long the service may take for its answer. Default: 2 seconds. */
  readonly timeout?: Duration.Input | undefined
  /** How long it is not asked again about a login that it allowed. Default: 1 minute. 0 = it is asked each time. */
  readonly cacheFor?: Duration.Input | undefined
  /** Sent as `Authorization: Bearer`. */
  readonly token?: Redacted.Redacted<string> | undefined
}

/** Networks or addresses, alone or with how one is chosen among them. */
const EgressAnswer = Schema.Union([
  Schema.Array(Schema.String),
  Schema.Struct({ from: Schema.Array(Schema.String), by: Schema.optionalKey(Schema.Literals(Egress.choices)) })
])

/** What the service says of a user whom it lets in. Other keys are of no account. */
const Answer = Schema.Struct({
  groups: Schema.optionalKey(Schema.Array(Schema.String)),
  limits: Schema.optionalKey(Schema.String),
  egress: Schema.optionalKey(EgressAnswer),
  /** Seconds for which the answer may be remembered. */
  expiresIn: Schema.optionalKey(Schema.Finite.check(Schema.isGreaterThanOrEqualTo(0)))
})

const decodeAnswer = Schema.decodeUnknownResult(Answer)

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()

/** What each field should be, and how it is written. */
const wanted: { readonly [Key in keyof typeof Answer.Type]-?: readonly [what: string, fix: string] } = {
  groups: ["a list of texts", "write [\"staff\"]"],
  limits: ["the name of a class of limits", "write \"heavy\""],
  egress: [
    `a list of addresses and networks, or {from, by} with by one of ${Egress.choices.join(", ")}`,
    "write [\"192.0.2.7\"]"
  ],
  expiresIn: ["a number of seconds, 0 or more", "write 60 for a minute"]
}

const isField = (key: unknown): key is keyof typeof wanted => typeof key === "string" && Object.hasOwn(wanted, key)

/** As much of a value as a line of the log has room for. */
const shown = (value: unknown): string => {
  const text = JSON.stringify(value)
  return text.length > 80 ? `${text.slice(0, 80)}…` : text
}

/** The service can't be asked, or gave no answer that can be used; `problem` follows its name. */
class Unanswered extends Data.TaggedError("Unanswered")<{ readonly problem: string }> {}

const unanswered = (problem: string): Unanswered => new Unanswered({ problem })

const unusable = (field: keyof typeof wanted, problem: string): Unanswered =>
  unanswered(`answered with what can't be used: ${field}: ${problem}`)

const noObject = unanswered("answered with something other than a JSON object; write {} where nothing more is known")

/** Only what stands under a known key is repeated. */
const parseAnswer = (text: string): Result.Result<typeof Answer.Type, Unanswered> => {
  const json = text.trim() === "" ? Result.succeed({}) : Result.try((): unknown => JSON.parse(text))
  if (Result.isFailure(json)) return Result.fail(noObject)
  const given = json.success
  return Result.mapError(decodeAnswer(given), ({ issue }) => {
    const key = formatIssue(issue).issues[0]?.path?.[0]
    if (!isField(key)) return noObject
    const [what, fix] = wanted[key]
    // It has the field, since the issue is about it.
    return unusable(key, `${shown((given as Readonly<Record<string, unknown>>)[key])} is not ${what}; ${fix}`)
  })
}

/** More would be no answer, and must not fill the memory. */
const longestAnswer = 65_536
/** Requests that wait for the service. */
const mostAtOnce = 256
/** Failures, one after the other, after which it is left alone for a while. */
const patience = 5
const pause = "5 seconds"

const unreachable = (error: HttpClientError.HttpClientError): Unanswered =>
  unanswered(`can't be asked (${codeOf(error)})`)

const codeOf = ({ reason }: HttpClientError.HttpClientError): string => {
  // Node's fetch wraps the error of the socket.
  let cause: unknown = "cause" in reason ? reason.cause : undefined
  while (cause instanceof Error) {
    if ("code" in cause && typeof cause.code === "string") return cause.code
    cause = cause.cause
  }
  return reason._tag
}

/** Egress by what the service wrote, so that turns go on from one login to the next. */
const makeEgress = () => {
  const known = new Map<string, Egress.Egress>()
  return (answer: typeof EgressAnswer.Type): Result.Result<Egress.Egress, Unanswered> => {
    const key = JSON.stringify(answer)
    const before = known.get(key)
    if (before !== undefined) return Result.succeed(before)
    const { by, from } = "from" in answer ? answer : { by: undefined, from: answer }
    if (from.length === 0) return Result.fail(unusable("egress", "is empty; name an address, or leave it out"))
    return Result.all(from.map(UserFields.network)).pipe(
      Result.mapError(({ fix, problem }) => unusable("egress", `${problem}; ${fix}`)),
      Result.map((networks) => {
        const egress = Egress.make(networks, by)
        if (known.size >= 1_000) known.clear()
        known.set(key, egress)
        return egress
      })
    )
  }
}

/** Whom the service has let in is not asked about again; who has a mark was let in by users that are no more. */
const recheck = (identity: Identity) => Effect.succeed(identity.password === undefined ? identity : undefined)

/** Makes the authenticator; the scope ends its watch over the service. */
export const make = Effect.fnUntraced(function*(options: Options) {
  const { cacheFor, token, url } = options
  const timeout = Duration.fromInputUnsafe(options.timeout ?? "2 seconds")
  const client = HttpClient.withScope(yield* HttpClient.HttpClient)
  const breaker = yield* CircuitBreaker.make({
    tripPolicy: CircuitBreaker.consecutive(patience),
    openDuration: pause
  })
  const slots = Semaphore.makeUnsafe(mostAtOnce)
  const verified = VerifiedLogins.make<Omit<Identity, "name">>({ timeToLive: cacheFor })
  const egressOf = makeEgress()
  const service = new URL(url).host

  yield* breaker.transitions.pipe(
    Stream.runForEach(({ to }) => {
      if (to === "HalfOpen") return Effect.void
      const log = to === "Open" ? Effect.logWarning("login service is down") : Effect.logInfo("login service is back")
      return Effect.annotateLogs(log, { service })
    }),
    Effect.forkScoped({ startImmediately: true })
  )

  const read = (text: string): Result.Result<VerifiedLogins.Verified<Omit<Identity, "name">>, Unanswered> =>
    Result.gen(function*() {
      const { egress, expiresIn, groups, limits } = yield* parseAnswer(text)
      return {
        value: {
          ...groups !== undefined && { groups },
          ...limits !== undefined && { limits },
          ...egress !== undefined && { egress: yield* egressOf(egress) }
        },
        timeToLive: expiresIn === undefined ? undefined : expiresIn * 1_000
      }
    })

  const ask = Effect.fnUntraced(
    function*(user: string, password: string, address: string | undefined) {
      const request = HttpClientRequest.post(url, { acceptJson: true }).pipe(
        HttpClientRequest.bodyJsonUnsafe({ user, password, ...address !== undefined && { client: address } }),
        token === undefined ? (same) => same : HttpClientRequest.bearerToken(token)
      )
      const response = yield* Effect.mapError(client.execute(request), unreachable)
      if (response.status === 401) return undefined
      if (response.status !== 200) return yield* unanswered(`answered ${response.status}`)
      const text = yield* response.stream.pipe(
        Stream.mapError(unreachable),
        Stream.limitBytes(longestAnswer, () => Stream.fail(unanswered("answered with too much"))),
        Stream.decodeText(),
        Stream.mkString
      )
      return yield* Effect.fromResult(read(text))
    },
    Effect.scoped,
    Effect.timeoutOrElse({
      duration: timeout,
      orElse: () => Effect.fail(unanswered(`gave no answer within ${Duration.format(timeout)}`))
    })
  )

  const guarded = (...login: Parameters<typeof ask>) =>
    slots.withPermitsIfAvailable(1)(breaker.execute(ask(...login), { key: service })).pipe(
      Effect.catchTag("CircuitBreakerError", () => Effect.fail(unanswered("is down"))),
      Effect.flatMap(Option.match({
        onNone: () => Effect.fail(unanswered("is asked about too many logins at once")),
        onSome: Effect.succeed
      }))
    )

  const authenticate = ({ client, password, username }: Credentials): Effect.Effect<Identity, AuthenticationFailed> =>
    Effect.suspend(() => {
      // Services that ask a directory may find that an empty password is no login, and so no failure (RFC 4513 §5.1.2).
      if (Redacted.value(password) === "") {
        return Effect.fail(new AuthenticationFailed({ username, why: "the password is empty" }))
      }
      const address = client === undefined ? undefined : NetAddress.formatIp(NetAddress.toCanonical(client.address))
      const key = verified.keyOf([username, Redacted.value(password), address ?? ""])
      return Effect.flatMap(Clock.currentTimeMillis, (now) => {
        const known = verified.recall(key, now)
        return known === undefined
          ? verified.find(key, guarded(username, Redacted.value(password), address))
          : Effect.succeed(known)
      }).pipe(
        Effect.mapError(({ problem }) =>
          new AuthenticationFailed({ username, why: `the login service ${problem}`, blameless: true })
        ),
        Effect.flatMap((known): Effect.Effect<Identity, AuthenticationFailed> =>
          known === undefined
            ? Effect.fail(new AuthenticationFailed({ username }))
            : Effect.succeed({ name: username, ...known })
        )
      )
    })

  return Authenticator.of({ required: true, authenticate, recheck })
})

/** What asks the service: Node's own `fetch`. A redirect is not followed, since the password would go with it. */
const httpClient = FetchHttpClient.layer.pipe(
  Layer.provide(Layer.succeed(FetchHttpClient.RequestInit, { redirect: "manual", cache: "no-store" }))
)

/** The authenticator with all that it needs. */
export const makeWithFetch = (options: Options): Effect.Effect<Authenticator["Service"], never, Scope.Scope> =>
  Effect.provide(make(options), [httpClient, CircuitBreaker.layerStoreMemory()])

export const layer = (options: Options): Layer.Layer<Authenticator> =>
  Layer.effect(Authenticator, makeWithFetch(options))
