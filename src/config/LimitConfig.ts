/** `limits:` and `bans:` of a configuration file. */
import * as ByteSize from "effect/ByteSize"
import * as Duration from "effect/Duration"
import type * as IpNetwork from "effect/net/IpNetwork"
import * as Option from "effect/Option"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as ClientNetwork from "../policy/ClientNetwork.ts"
import type { Limits, LimitSet, Rate } from "../policy/Limit.ts"
import * as DurationField from "./DurationField.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"
import type * as Shape from "./Shape.ts"

const units: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 }

const rateText = /^([1-9]\d{0,8})\/([smhd])$/

const parseRate = (text: string): Result.Result<Rate, string> => {
  const [, count = "", unit = ""] = rateText.exec(text) ?? []
  const per = units[unit]
  return per === undefined
    ? Fields.wrong(text, "a rate, such as 20/s, 600/m or 10000/h")
    : Result.succeed({ count: Number(count), per })
}

/** `undefined` for what is no size, or none above 0. */
const bytesOf = (text: string): number | undefined => {
  // People write KB as well as kB.
  const size = Option.flatMap(ByteSize.fromString(text.replace(/^(\d+ ?)KB$/, "$1kB")), ByteSize.toNumber)
  return Option.getOrUndefined(Option.filter(size, (bytes) => bytes > 0))
}

/** The symbols of `ByteSize`, and its names, such as megabytes. */
const size = String.raw`\s*\d+(?:\.\d+)?\s*(?:[kKMGTPEZYRQ]?B|[KMGTPEZY]iB|[a-z]*bytes?)\s*`

const sizes: Shape.Shape = { text: new RegExp(`^${size}$`) }
const bandwidths: Shape.Shape = { text: new RegExp(`^${size}/s$`) }

const parseSize = (text: string): Result.Result<number, string> =>
  Result.orElse(
    Result.fromNullishOr(bytesOf(text), () => ""),
    () => Fields.wrong(text, "a number of bytes, such as 500MB, 10GB or 10GiB")
  )

const parseBandwidth = (text: string): Result.Result<number, string> => {
  const bytes = text.endsWith("/s") ? bytesOf(text.slice(0, -2)) : undefined
  return bytes === undefined
    ? Fields.wrong(text, "a number of bytes a second, such as 500kB/s, 10MB/s or 1GiB/s")
    : Result.succeed(bytes)
}

const optional = Schema.optionalKey

const count = (description: string) => optional(FileValue.as(Fields.Count, { description }))

const rate = (description: string) =>
  optional(FileValue.parsed(FileValue.text({ description, shape: { text: rateText } }), parseRate))

const bandwidth = (description: string) =>
  optional(FileValue.parsed(FileValue.text({ description, shape: bandwidths }), parseBandwidth))

const volume = (description: string) =>
  optional(FileValue.parsed(FileValue.text({ description, shape: sizes }), parseSize))

/** What may be limited for whomever it is. */
const Limited: FileValue.FromFile<Limits> = Schema.Struct({
  connections: count("Connections at once"),
  devices: count("Different client addresses at once; an IPv6 network of 64 bits is one"),
  newConnections: rate("New connections: 20/s, 600/m"),
  udpPackets: rate("UDP packets in both directions: 1000/s"),
  up: bandwidth("Bytes a second to targets: 10MB/s"),
  down: bandwidth("Bytes a second to clients: 10MB/s"),
  bytesPerDay: volume("Bytes in both directions a day (UTC): 10GB"),
  bytesPerMonth: volume("Bytes in both directions a month (UTC): 100GB")
}).annotate({ expected: "a map of limits" })

/** Limits, and where counters are kept over a restart. */
export interface LimitConfig extends LimitSet {
  readonly stateFile?: string
}

const mapFrom = (limits: Readonly<Record<string, Limits>> | undefined) =>
  limits === undefined ? undefined : new Map(Object.entries(limits))

const described = (description: string) => Limited.annotate({ description })

export const LimitConfig: FileValue.FromFile<LimitConfig> = FileValue.mapped(
  Schema.Struct({
    global: optional(described("Of all clients together")),
    user: optional(described("Of each user")),
    client: optional(described("Of each client address; an IPv6 network of 64 bits is one")),
    groups: optional(FileValue.mapOf(Limited, { description: "Of all users of a group together, by its name" })),
    classes: optional(
      FileValue.mapOf(Limited, { description: "In the place of `user`, for those whose `limits` has the name" })
    ),
    stateFile: optional(FileValue.path({ description: "Keeps the counters of days and months over a restart" }))
  }).annotate({
    description: "How much may be used. Limits hold beside each other: the narrowest decides",
    expected: "a map of limits"
  }),
  ({ classes, groups, ...limits }): LimitConfig => ({ ...limits, groups: mapFrom(groups), classes: mapFrom(classes) })
)

/** What follows failed logins; what is missing has its default, which is that of `BanList` but for `allow`. */
export interface BanConfig {
  readonly after?: number
  readonly within?: Duration.Duration
  readonly for?: Duration.Duration
  readonly delay?: Duration.Duration
  readonly maxDelay?: Duration.Duration
  readonly allow?: ReadonlyArray<IpNetwork.IpNetwork>
  readonly remember?: number
}

const time = (description: string, value: string) =>
  optional(FileValue.as(DurationField.TimeoutOrZero, { description, default: value }))

const Bans = Schema.Struct({
  after: optional(FileValue.as(Fields.Count, { description: "Failed logins of a client that ban it", default: 5 })),
  within: time("How long a failed login counts", "10m"),
  for: time("How long a ban lasts", "1h"),
  delay: time("How long the answer to a failed login takes; doubled with each further one", "1s"),
  maxDelay: time("The longest that an answer takes", "16s"),
  allow: optional(FileValue.listOf(FileValue.as(Fields.Network), {
    description: "Networks that are never banned, nor kept waiting",
    default: ["127.0.0.0/8", "::1"]
  })),
  remember: optional(
    FileValue.as(Fields.Count, { description: "Clients that are remembered at most", default: 65_536 })
  )
})

/** `undefined` where nothing follows failed logins. */
export const BanConfig: FileValue.FromFile<BanConfig | undefined> = FileValue.parsed(
  Schema.Union([Bans, Schema.Literal("off")]).annotate({
    description: "Failed logins: a growing delay, then a ban of the client's address; off: nothing",
    expected: "a map, or off"
  }),
  (given) => {
    if (given === "off") return Result.succeed(undefined)
    const { delay, maxDelay } = given
    return delay !== undefined && maxDelay !== undefined && Duration.isGreaterThan(delay, maxDelay)
      ? Result.fail("has a delay that is longer than its maxDelay; raise maxDelay, or lower delay")
      : Result.succeed({ allow: ClientNetwork.loopback, ...given })
  }
)

/** What holds where a file says nothing of it. */
export const defaultBans: BanConfig = { allow: ClientNetwork.loopback }
