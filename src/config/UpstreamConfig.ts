/** `upstreams:` of a configuration file: pools of other proxies, by their names. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type { Chain } from "../client/Chain.ts"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import * as UpstreamPool from "../client/UpstreamPool.ts"
import { direct } from "../client/UpstreamPools.ts"
import * as DurationField from "./DurationField.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"
import * as Shape from "./Shape.ts"

/** A pool without the limits in time that are the same for all. */
export type Pool = Omit<UpstreamPool.Options<Chain>, "connectTimeout" | "answerTimeout" | "tls" | "totalTimeout">

const optional = Schema.optionalKey

// A password may be anywhere in what was meant to be one: nothing of it is repeated.
const url = FileValue.parsed(
  FileValue.secret({
    description: "PROTOCOL://[USER:PASSWORD@]HOST:PORT",
    shape: { text: new RegExp(`^${Shape.inAnyCase(ProxyUrl.protocols)}://`) }
  }),
  (text) => ProxyUrl.parse(Redacted.value(text))
)

const WithSecret = Schema.Struct({
  url,
  user: optional(FileValue.name({ description: "The name to log in with" })),
  passwordFile: optional(FileValue.secretFile({ description: "File whose one line is the password" })),
  passwordEnv: optional(FileValue.secretVariable({ description: "Environment variable that holds the password" }))
}).annotate({ description: "A proxy whose password stands elsewhere", expected: "a map" })

const complete = (given: typeof WithSecret.Type): Result.Result<ProxyUrl.ProxyUrl, string> => {
  const { passwordEnv, passwordFile, url } = given
  if (passwordEnv !== undefined && passwordFile !== undefined) {
    return Result.fail("has both passwordFile and passwordEnv; keep one")
  }
  const password = passwordFile ?? passwordEnv
  if (url.credentials !== undefined && given.user !== undefined) {
    return Result.fail("has user, and a user in its url; keep one")
  }
  if (password !== undefined && Redacted.value(url.credentials?.password ?? Redacted.make("")) !== "") {
    const key = passwordFile === undefined ? "passwordEnv" : "passwordFile"
    return Result.fail(`has ${key}, and a password in its url; keep one`)
  }
  const user = given.user ?? url.credentials?.user
  if (password === undefined && given.user === undefined) return Result.succeed(url)
  if (user === undefined) return Result.fail("has a password, but no user; add user: NAME")
  const whole = new URL(
    ProxyUrl.format({ ...url, credentials: { user, password: Redacted.make("") } }).replace(/^[^:]+/, "proxy")
  )
  whole.password = encodeURIComponent(Redacted.value(password ?? url.credentials?.password ?? Redacted.make("")))
  // Once more, for what a protocol can't send.
  return ProxyUrl.parse(whole.href.replace(/^proxy/, url.protocol))
}

/** A URL, or one whose password stands elsewhere. */
export const Proxy: FileValue.FromFile<ProxyUrl.ProxyUrl> = Schema.Union([
  url,
  FileValue.parsed(WithSecret, complete)
]).annotate({ expected: "the URL of a proxy" })

const ChainConfig = FileValue.nonEmpty(
  Schema.Array(Proxy).annotate({ description: "Proxies one behind the other; the first is the one that is dialled" }),
  "is empty; give the URL of a proxy"
)

const Chains = Schema.Union([
  Proxy,
  Schema.Array(Schema.Union([Proxy, ChainConfig]).annotate({ expected: "the URL of a proxy, or a list of them" }))
]).annotate({
  description: "The proxies to choose from; a list within is a chain, one proxy behind the other",
  expected: "a list of the URLs of proxies"
})

const isChain = (
  way: ProxyUrl.ProxyUrl | Arr.NonEmptyReadonlyArray<ProxyUrl.ProxyUrl>
): way is Arr.NonEmptyReadonlyArray<
  ProxyUrl.ProxyUrl
> => Array.isArray(way)

const PoolConfig: FileValue.FromFile<Pool> = FileValue.mapped(
  Schema.Struct({
    proxies: FileValue.nonEmpty(
      FileValue.mapped(
        Chains,
        (given) => ("protocol" in given ? [given] : given).map((way) => isChain(way) ? way : Arr.of(way))
      ),
      "is empty; give the URL of a proxy"
    ),
    choose: optional(FileValue.choice(UpstreamPool.choices, {
      description: "Which of several: each in turn, the one with the fewest connections, or the same for a user",
      default: "round-robin"
    })),
    maxFailures: optional(
      FileValue.as(Fields.Count, { description: "Failures in a row that take one out", default: 3 })
    ),
    ejectFor: optional(FileValue.as(DurationField.Timeout, { description: "How long it stays out", default: "30s" })),
    checkEvery: optional(FileValue.as(DurationField.TimeoutOrZero, {
      description: "How often each is tried without a destination, where there are several; 0 = never",
      default: "10s"
    }))
  }).annotate({ expected: "a map with proxies" }),
  ({ proxies, ...options }): Pool => ({ chains: proxies, ...options })
)

export const UpstreamConfig: FileValue.FromFile<Readonly<Record<string, Pool>>> = FileValue.refine(
  FileValue.mapOf(PoolConfig, {
    description: "Pools of other proxies, by their names, which rules (`via`) and user options pick",
    expected: "a map of pools"
  }),
  (pools) => direct in pools ? Effect.fail(`"${direct}" means no upstream; choose another name`) : Effect.succeed(pools)
)
