/**
 * The values that a setting can have, each a schema from the text that people
 * write. A failure's message is the second half of one line, after the name of
 * the flag or variable: what was written, and what would do instead.
 */
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import { availableParallelism } from "node:os"
import type { ProxyUrl } from "../client/ProxyUrl.ts"
import { protocols } from "../server/Dialect.ts"
import { serverFromString } from "../transport/DnsResolver.ts"
import * as Egress from "../transport/Egress.ts"
import * as Listen from "../transport/ListenAddress.ts"
import { quote } from "./Escape.ts"
import * as ListenUrl from "./ListenUrl.ts"
import * as Shape from "./Shape.ts"

/** A value that is written as a text; what `parse` fails with is the message. */
export const fromText = <T>(
  type: Schema.Codec<T>,
  parse: (text: string) => Result.Result<T, string>,
  print: (value: T) => string
): Schema.Codec<T, string> =>
  Schema.String.pipe(Schema.decodeTo(type, {
    decode: SchemaGetter.transformEffect((text, options) =>
      Effect.mapError(
        Effect.fromResult(parse(text)),
        (message) => new SchemaIssue.InvalidValue({ message }, text, options)
      )
    ),
    encode: SchemaGetter.transform(print)
  }))

/** Why a text won't do, and what would. */
export const wrong = (text: string, wanted: string): Result.Result<never, string> =>
  Result.fail(text === "" ? `is empty; give ${wanted}` : `${quote(text)} is not ${wanted}`)

/** Where to listen: `HOST:PORT`, `tls://HOST:PORT?cert=FILE&key=FILE` or `unix:PATH`. */
export const ListenAddress = Shape.annotate(fromText(Schema.toType(Listen.Json), ListenUrl.parse, Listen.format), {
  text: /^unix:|^tls:\/\/|:\d+$/
})

/** What every address has in it. */
const address: Shape.Shape = { text: /[.:]/ }

/** A DNS server, `IP` or `IP:PORT`. */
export const DnsServer = Shape.annotate(
  fromText(
    Schema.InetAddress,
    (text) =>
      Result.orElse(
        serverFromString(text),
        () => wrong(text, "an IP address, or one with a port, such as 9.9.9.9, 9.9.9.9:53 or [2620:fe::fe]:53")
      ),
    NetAddress.formatInet
  ),
  address
)

export const parseNetwork = (text: string): Result.Result<IpNetwork.IpNetwork, string> => {
  const alone = NetAddress.ipFromString(text)
  const network = Result.isSuccess(alone)
    ? IpNetwork.make(alone.success, NetAddress.width(alone.success))
    : IpNetwork.fromString(text)
  return Result.orElse(network, ({ message }) =>
    message === "address has non-zero host bits"
      ? wrong(text, "a network, since bits are set after the prefix; write its first address")
      : wrong(text, "a network, such as 10.0.0.0/8, fd00::/8 or 192.168.1.7"))
}

const parseEgress = (text: string): Result.Result<Egress.Source, string> => {
  if (text.includes("/")) return parseNetwork(text)
  const source = Egress.lone(text)
  return source === undefined
    ? wrong(text, `an address, a network or an interface of this machine: ${Egress.examples()}`)
    : Result.succeed(source)
}

/** Where to go out from: an address of this machine, a network whose addresses all lead here, or an interface. */
export const EgressSource = fromText(
  Schema.Union([
    Schema.IpAddress,
    Schema.IpNetwork,
    Schema.TaggedStruct("Interface", { name: Schema.String })
  ]),
  parseEgress,
  Egress.format
)

/** How one address is chosen among several. */
export const EgressBy = fromText(
  Schema.Literals(Egress.choices),
  (text) =>
    Result.fromNullishOr(Egress.choices.find((choice) => choice === text), () => notOneOf(text, Egress.choices)),
  (choice) => choice
)

/** The URL of a proxy, redacted from the start: its password is in it, and is not written back. */
export const Upstream = Schema.Redacted(Schema.String).pipe(
  Schema.decodeTo(Schema.declare((value): value is ProxyUrl => typeof value === "object"), {
    decode: SchemaGetter.transformEffect((text) =>
      // Only those who have upstreams pay for loading the client.
      Effect.promise(() => import("../client/ProxyUrl.ts")).pipe(
        Effect.flatMap((ProxyUrl) => Effect.fromResult(ProxyUrl.parse(Redacted.value(text)))),
        Effect.mapError((message) => new SchemaIssue.InvalidValue({ message }))
      )
    ),
    encode: SchemaGetter.forbidden(() => "a password is not written back")
  })
)

/** A network, `ADDRESS/PREFIX`; a lone address is the network of itself. */
export const Network = Shape.annotate(
  fromText(Schema.IpNetwork, (text) => parseNetwork(text), IpNetwork.format),
  address
)

/** Who may send PROXY headers: a network, or `unix` for all who come by a Unix socket. */
export const Balancer = Shape.annotate(
  fromText(
    Schema.Union([Schema.IpNetwork, Schema.Literal("unix")]),
    (text) => text === "unix" ? Result.succeed("unix" as const) : parseNetwork(text),
    (balancer) => balancer === "unix" ? balancer : IpNetwork.format(balancer)
  ),
  { ...address, words: ["unix"] }
)

const countText = /^[1-9]\d{0,8}$/

/** A whole number above 0. */
export const Count = Shape.annotate(
  fromText(
    Schema.Int,
    (text) => countText.test(text) ? Result.succeed(Number(text)) : wrong(text, "a whole number from 1 to 999999999"),
    String
  ),
  { text: countText, number: Shape.whole(1, 999_999_999) }
)

/** An IP address that somebody can send to, without a port. */
export const IpAddress = Shape.annotate(
  fromText(
    Schema.IpAddress,
    (text) =>
      Result.filterOrFail(
        Result.mapError(NetAddress.ipFromString(text), () => ""),
        (address) => !NetAddress.isUnspecified(address),
        () => ""
      ).pipe(Result.orElse(() => wrong(text, "an IP address, such as 192.0.2.1 or 2001:db8::1"))),
    NetAddress.formatIp
  ),
  address
)

export const highestPort = 65_535

const portRangeText = /^(\d{1,5})(?:-(\d{1,5}))?$/

/** Ports from `from` to `to`, both included: `FROM-TO`, or one port alone. */
export const PortRange = Shape.annotate(
  fromText(
    Schema.Struct({ from: Schema.Int, to: Schema.Int }),
    (text) => {
      const [, from = "", to = from] = portRangeText.exec(text) ?? []
      const range = { from: Number(from), to: Number(to) }
      return range.from >= 1 && range.from <= range.to && range.to <= highestPort
        ? Result.succeed(range)
        : wrong(text, "a range of ports, FROM-TO, such as 40000-40999")
    },
    ({ from, to }) => from === to ? String(from) : `${from}-${to}`
  ),
  { text: portRangeText, number: Shape.whole(1, highestPort) }
)

const mostWorkers = 1024

const workersText = /^[1-9]\d{0,3}$/

/** A number of processes; `auto` is the number of processors that this one may use. */
export const Workers = Shape.annotate(
  fromText(
    Schema.Int,
    (text) => {
      if (text === "auto") return Result.succeed(availableParallelism())
      return workersText.test(text) && Number(text) <= mostWorkers
        ? Result.succeed(Number(text))
        : wrong(text, `a whole number from 1 to ${mostWorkers}, or auto`)
    },
    String
  ),
  { text: workersText, words: ["auto"], number: Shape.whole(1, mostWorkers) }
)

const yes = ["true", "yes", "on", "1", "y"]
const no = ["false", "no", "off", "0", "n"]

/** Yes or no, in the spellings that the flags take too. */
export const Switch = Shape.annotate(
  fromText(
    Schema.Boolean,
    (text) => {
      if (yes.includes(text.toLowerCase())) return Result.succeed(true)
      if (no.includes(text.toLowerCase())) return Result.succeed(false)
      return wrong(text, "true or false")
    },
    String
  ),
  { boolean: true, text: new RegExp(`^${Shape.inAnyCase([...yes, ...no])}$`), number: Shape.whole(0, 1) }
)

/** The name of a file. */
export const FilePath = fromText(
  Schema.String,
  (text) => text === "" ? wrong(text, "the path of a file") : Result.succeed(text),
  (path) => path
)

/** Why a word is not among those that a setting knows. */
export const notOneOf = (text: string, choices: ReadonlyArray<string>): string =>
  `${quote(text)} is not one of ${choices.join(", ")}`

/** A list of protocols, separated by commas. */
export const Protocols = Shape.annotate(
  fromText(
    Schema.Array(Schema.Literals(protocols)),
    (text) => {
      const words = text.split(",").map((word) => word.trim())
      const known = words.flatMap((word) => protocols.filter((protocol) => protocol === word))
      const stranger = words.find((word) => !protocols.some((protocol) => protocol === word))
      return stranger === undefined ? Result.succeed(known) : Result.fail(notOneOf(stranger, protocols))
    },
    (list) => list.join(",")
  ),
  {
    text: new RegExp(`^\\s*${Shape.oneOf(protocols)}\\s*(?:,\\s*${Shape.oneOf(protocols)}\\s*)*$`),
    words: protocols
  }
)

export const logFormats = ["pretty", "json", "logfmt"] as const

export const LogFormat = fromText(
  Schema.Literals(logFormats),
  (text) => Result.fromNullishOr(logFormats.find((format) => format === text), () => notOneOf(text, logFormats)),
  (format) => format
)

const severities = ["Trace", "Debug", "Info", "Warn", "Error", "None"] as const

export const logLevels = severities.map((severity) => severity.toLowerCase())

export const LogLevel = fromText(
  Schema.Literals(severities),
  (text) =>
    Result.fromNullishOr(
      severities.find((severity) => severity.toLowerCase() === text),
      () => notOneOf(text, logLevels)
    ),
  (severity) => severity.toLowerCase()
)

/** `NAME:PASSWORD`, redacted from the start; it can't be encoded back. */
export const User = Schema.Redacted(Schema.String).pipe(
  Schema.decodeTo(Schema.Struct({ name: Schema.String, password: Schema.Redacted(Schema.String) }), {
    decode: SchemaGetter.transformEffect((text) =>
      // Only those who have users pay for loading argon2.
      Effect.promise(() => import("../policy/UserSources.ts")).pipe(
        Effect.flatMap((UserSources) => Effect.fromResult(UserSources.userFromString(Redacted.value(text)))),
        Effect.mapError((message) => new SchemaIssue.InvalidValue({ message }))
      )
    ),
    encode: SchemaGetter.forbidden(() => "a password is not written back")
  })
)
