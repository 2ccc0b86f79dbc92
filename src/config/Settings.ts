/**
 * Every setting of the proxy, once: its type, its default and what it does.
 * Flags, environment variables, the README's table and the error messages are
 * derived from here, so a new setting is one more entry in `Settings`.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"
import * as SchemaIssue from "effect/SchemaIssue"
import * as Str from "effect/String"
import { protocols } from "../server/Dialect.ts"
import * as Egress from "../transport/Egress.ts"
import * as DurationField from "./DurationField.ts"
import * as Fields from "./Fields.ts"

/** How a setting is presented. */
export interface Documentation {
  readonly description: string
  /** What stands for the value in help texts; a switch has none. */
  readonly metavar?: string
  /** The default as one would write it. */
  readonly default?: string
  /** The default in words, where it isn't a fixed value. */
  readonly otherwise?: string
  /** What a shell can complete. */
  readonly kind?: "switch" | "path" | "text"
  readonly choices?: ReadonlyArray<string>
  /** May be given several times. */
  readonly repeatable?: boolean
  /** Never shown, and redacted from the flag on. */
  readonly secret?: boolean
}

/** How one value of a setting is read from its text, redacted where the setting is secret. */
export type Value = Schema.Codec<unknown, unknown>

/** One setting under all of its names. */
export interface Setting extends Documentation {
  readonly key: keyof Settings
  /** Of what repeats, one. */
  readonly value: Value
  /** Without the dashes. */
  readonly flag: string
  /** The environment variable. */
  readonly variable: string
}

const documentation = "sluice/config/Setting"

const optional = <S extends Value>(value: S, docs: Documentation) =>
  Schema.optionalKey(value.annotate({ [documentation]: { ...docs, value } }))

const withDefault = <S extends Value>(value: S, docs: Documentation & { readonly default: S["Encoded"] }) =>
  value.pipe(Schema.withDecodingDefaultKey(Effect.succeed(docs.default))).annotate({
    [documentation]: { ...docs, value }
  })

const repeatable = <S extends Value>(value: S, docs: Documentation, ...defaults: ReadonlyArray<S["Encoded"]>) =>
  Schema.Array(value).pipe(Schema.withDecodingDefaultKey(Effect.succeed(defaults))).annotate({
    [documentation]: { ...docs, value, repeatable: true }
  })

const timeout = (docs: Omit<Documentation, "metavar"> & { readonly default: string }) =>
  withDefault(DurationField.Timeout, { metavar: "TIME", ...docs })

const timeoutOrZero = (docs: Omit<Documentation, "metavar"> & { readonly default: string }) =>
  withDefault(DurationField.TimeoutOrZero, { metavar: "TIME", ...docs })

const enable = (description: string) => withDefault(Fields.Switch, { kind: "switch", default: "false", description })

export const Settings = Schema.Struct({
  config: optional(Fields.FilePath, {
    metavar: "FILE",
    kind: "path",
    description: "File in YAML with these settings under their names in camelCase, and with users, rules and limits; " +
      "flags and variables win over it"
  }),
  listen: repeatable(Fields.ListenAddress, {
    metavar: "HOST:PORT",
    default: "127.0.0.1:1080",
    description: "Listen here: an IP address or localhost, IPv6 in brackets; port 0 takes any free one; or " +
      "tls://HOST:PORT?cert=FILE&key=FILE, or unix:PATH"
  }, "127.0.0.1:1080"),
  protocols: withDefault(Fields.Protocols, {
    metavar: "NAME,...",
    default: protocols.join(","),
    description: "What clients may speak; told apart by their first byte"
  }),
  proxyProtocol: repeatable(Fields.Balancer, {
    metavar: "CIDR",
    description: "Connections from this network begin with a PROXY protocol header (v1 or v2) that names the client; " +
      "unix: those by Unix sockets do"
  }),
  user: repeatable(Fields.User, {
    metavar: "NAME:PASSWORD",
    secret: true,
    otherwise: "nobody has to log in",
    description: "A user who may log in; others see it in the list of processes, so prefer the variable or --users"
  }),
  users: optional(Fields.FilePath, {
    metavar: "FILE",
    kind: "path",
    description: "File with a NAME:HASH on each line, as `sluice hash NAME` prints it"
  }),
  openProxy: enable("Listen beyond this machine without users: anybody can use the proxy"),
  allowPrivate: enable("Let other machines reach loopback, private and link-local addresses through the proxy"),
  allow: repeatable(Fields.Network, {
    metavar: "CIDR",
    description: "Let other machines reach this internal network through the proxy"
  }),
  dns: repeatable(Fields.DnsServer, {
    metavar: "SERVER",
    otherwise: "the system's",
    description: "Resolve names at this server, IP or IP:PORT"
  }),
  udpAdvertise: optional(Fields.IpAddress, {
    metavar: "ADDRESS",
    otherwise: "the address that each has connected to",
    description: "What UDP clients are told to send to, where a router translates this machine's address"
  }),
  udpPorts: optional(Fields.PortRange, {
    metavar: "FROM-TO",
    otherwise: "any",
    description: "Ports for UDP clients to send to"
  }),
  udpFragments: enable("Join the fragments of UDP datagrams (RFC 1928, section 7), which are dropped otherwise"),
  bindPorts: optional(Fields.PortRange, {
    metavar: "FROM-TO",
    otherwise: "any",
    description: "Ports to wait on for the peer of a BIND"
  }),
  bindTimeout: timeout({
    default: "1m",
    description: "How long the peer of a BIND may take to connect"
  }),
  upstream: repeatable(Fields.Upstream, {
    metavar: "URL",
    secret: true,
    otherwise: "destinations are dialled from here",
    description:
      "Go out through this proxy, PROTOCOL://[USER:PASSWORD@]HOST:PORT; several are a chain, in their order; " +
      "a comma in a password is written %2C"
  }),
  egress: repeatable(Fields.EgressSource, {
    metavar: "ADDRESS|CIDR|INTERFACE",
    otherwise: "what the system's routes choose",
    description: "Go out from this address of this machine, from any of this network, or from this interface; only " +
      "families that are given are reached"
  }),
  egressBy: withDefault(Fields.EgressBy, {
    metavar: "HOW",
    choices: Egress.choices,
    default: "rotate",
    description:
      "Which of several addresses: each in turn, the same for a user each time, or for a session of a user, " +
      "who logs in as NAME+SESSION"
  }),
  handshakeTimeout: timeout({
    default: "10s",
    description: "Limit for greeting, login and request together"
  }),
  connectTimeout: timeout({
    default: "10s",
    description: "Limit for connecting to a destination, over all its addresses; looking its name up has 5s of its own"
  }),
  idleTimeout: timeoutOrZero({
    default: "1h",
    description: "End a connection without traffic in either direction after this; 0 = never"
  }),
  halfCloseTimeout: timeoutOrZero({
    default: "1m",
    description: "The same once one side has finished sending; 0 = as --idle-timeout"
  }),
  drainTimeout: timeoutOrZero({
    default: "30s",
    description: "How long running connections may go on after SIGTERM or SIGINT; 0 = end them at once"
  }),
  workers: withDefault(Fields.Workers, {
    metavar: "N",
    default: "1",
    description: "Processes that share the ports and the work; auto = one for each processor"
  }),
  maxConnections: optional(Fields.Count, {
    metavar: "N",
    otherwise: "what the open-files limit has room for",
    description:
      "Close further connections at once when this many are open; each of several workers has its share, rounded up"
  }),
  logFormat: optional(Fields.LogFormat, {
    metavar: "FORMAT",
    choices: Fields.logFormats,
    otherwise: "pretty on a terminal, else logfmt",
    description: "How log lines are written"
  }),
  logLevel: withDefault(Fields.LogLevel, {
    metavar: "LEVEL",
    choices: Fields.logLevels,
    default: "info",
    description: "The least severe events that are logged"
  })
})

export type Settings = typeof Settings.Type

// `Object.keys` forgets what the keys of a struct are.
const keys = Object.keys(Settings.fields) as ReadonlyArray<keyof Settings>

/** All settings, in the order in which help texts list them. */
export const all: ReadonlyArray<Setting> = keys.map((key) => {
  const words = Str.camelToSnake(key)
  const docs = SchemaAST.resolveAt<Documentation & Pick<Setting, "value">>(documentation)(Settings.fields[key].ast)
  const names = { key, flag: Str.snakeToKebab(words), variable: `SLUICE_${words.toUpperCase()}` }
  return Object.assign(names, docs ?? { description: "", value: Schema.String })
})

/** A setting has a value that won't do. `message` is one line without secrets; where it was set is not in it. */
export class SettingsError extends Data.TaggedError("SettingsError")<{
  readonly key: PropertyKey | undefined
  readonly message: string
}> {}

const formatIssue = SchemaIssue.makeFormatterStandardSchemaV1()
const decodeSettings = Schema.decodeUnknownEffect(Settings)

/** Settings from texts, lists of texts for those that repeat; what is absent takes its default. */
export const decode = (texts: Readonly<Record<string, unknown>>): Effect.Effect<Settings, SettingsError> =>
  Effect.mapError(decodeSettings(texts), ({ issue }) => {
    const [first] = formatIssue(issue).issues
    // The formatter's path may hold segments that wrap their key.
    const [key, at] = (first?.path ?? []).map((segment) => typeof segment === "object" ? segment.key : segment)
    const message = first?.message ?? "invalid"
    const given = typeof key === "string" ? texts[key] : undefined
    // Of several secrets, the message itself can't repeat the one that is wrong.
    const isOneOf = Array.isArray(given) && given.length > 1 &&
      all.some(({ secret, ...one }) => one.key === key && secret)
    return new SettingsError({
      key,
      message: isOneOf && typeof at === "number" ? `number ${at + 1} of ${given.length}: ${message}` : message
    })
  })
