/**
 * A configuration file, once: one schema of the whole of it, from which it is read, complained about, completed by
 * editors and explained. The settings among its keys are those of `Settings`.
 */
import * as Effect from "effect/Effect"
import * as JsonSchema from "effect/JsonSchema"
import type * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import type { Declarations } from "../policy/UserOptions.ts"
import type { StoredUser } from "../policy/UserStore.ts"
import type { ListenAddress } from "../transport/ListenAddress.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"
import { BanConfig, defaultBans, LimitConfig } from "./LimitConfig.ts"
import { ListConfig, type ListEntry } from "./ListConfig.ts"
import * as References from "./References.ts"
import { RuleConfig, type RuleEntry } from "./RuleConfig.ts"
import * as Settings from "./Settings.ts"
import * as Shape from "./Shape.ts"
import { TestConfig, type TestEntry } from "./TestConfig.ts"
import { type Pool, Proxy, UpstreamConfig } from "./UpstreamConfig.ts"
import { AuthConfig, OptionsConfig, UserConfig } from "./UserConfig.ts"

/** What the settings don't know. */
const sections = {
  users: Schema.optionalKey(UserConfig),
  auth: Schema.optionalKey(AuthConfig),
  userOptions: Schema.optionalKey(OptionsConfig),
  lists: Schema.optionalKey(ListConfig),
  upstreams: Schema.optionalKey(UpstreamConfig),
  limits: Schema.optionalKey(LimitConfig),
  bans: Schema.optionalKey(BanConfig),
  default: Schema.optionalKey(FileValue.choice(["allow", "deny"], {
    description: "What becomes of requests that no rule matches",
    default: "allow"
  })),
  rules: Schema.optionalKey(RuleConfig),
  tests: Schema.optionalKey(TestConfig)
}

/** The keys of a file that are no settings, in the order in which they are explained. */
export type Section = keyof typeof sections

/** A file's settings: those that it has. */
export type FileSettings = Partial<Settings.Settings>

export interface Config {
  readonly settings: FileSettings
  /** Those that are in the file itself; the path of a users file is a setting. */
  readonly users: ReadonlyArray<StoredUser> | undefined
  readonly auth: AuthConfig | undefined
  readonly userOptions: Declarations
  readonly lists: Readonly<Record<string, ListEntry>>
  readonly upstreams: Readonly<Record<string, Pool>>
  readonly limits: LimitConfig
  /** `undefined` where nothing follows failed logins. */
  readonly bans: BanConfig | undefined
  readonly default: "allow" | "deny"
  readonly rules: ReadonlyArray<RuleEntry>
  readonly tests: ReadonlyArray<TestEntry>
}

/** The settings that a file can have: not which file it is. */
export const settings: ReadonlyArray<Settings.Setting> = Settings.all.filter(({ key }) =>
  key !== "config" && key !== "users"
)

/** Files that are named in an address to listen on. */
const listenInFolder = (listen: ListenAddress): Effect.Effect<ListenAddress> => {
  const { inFolder } = FileValue
  switch (listen._tag) {
    case "Unix":
      return Effect.map(inFolder(listen.path), (path) => ({ ...listen, path }))
    case "Tls":
      return Effect.map(
        Effect.all([inFolder(listen.cert), inFolder(listen.key), inFolder(listen.clientCa ?? "")]),
        ([cert, key, clientCa]) => ({ ...listen, cert, key, ...listen.clientCa !== undefined && { clientCa } })
      )
    default:
      return Effect.succeed(listen)
  }
}

/** One value of a setting. */
const valueOf = (setting: Settings.Setting, docs: FileValue.Docs): FileValue.FromFile<unknown> => {
  const { choices, key, kind, secret, value } = setting
  // What a setting is read from is a text, or a redacted one where it is secret.
  const fromText = value as Schema.Codec<unknown, string>
  if (key === "upstream") return Proxy
  if (kind === "switch") return FileValue.flag(docs)
  if (kind === "path") return FileValue.path(docs)
  if (choices !== undefined) return FileValue.choice(choices, docs).pipe(Schema.decodeTo(fromText))
  if (secret === true) {
    return FileValue.secret(docs).pipe(
      Schema.decodeTo(value as Schema.Codec<unknown, Redacted.Redacted<string>>)
    )
  }
  if (key === "listen") return FileValue.refine(FileValue.as(Fields.ListenAddress, docs), listenInFolder)
  return key === "protocols"
    ? FileValue.mapped(
      FileValue.nonEmpty(
        FileValue.listOf(FileValue.text({ shape: Shape.of(Fields.Protocols) }), docs),
        "is empty; name a protocol, or leave it out for all of them"
      ),
      (words) => words.join(",")
    ).pipe(
      Schema.decodeTo(fromText)
    )
    : FileValue.as(fromText, docs)
}

const fieldOf = (setting: Settings.Setting) => {
  const { default: value, description, metavar, otherwise, repeatable } = setting
  const docs: FileValue.Docs = {
    description: description + (otherwise === undefined ? "" : `; default: ${otherwise}`),
    ...value !== undefined && { default: setting.kind === "switch" ? value === "true" : value },
    ...metavar !== undefined && { expected: repeatable === true ? `${metavar}, or a list of them` : metavar }
  }
  if (repeatable !== true) return valueOf(setting, docs)
  const list = FileValue.listOf(valueOf(setting, {}), docs)
  // Of all others, none is the same as what is not there.
  return setting.key === "listen"
    ? FileValue.nonEmpty(list, `is empty; give an address, or leave it out for ${value}`)
    : list
}

const settingFields: Readonly<Record<string, Schema.optionalKey<FileValue.FromFile<unknown>>>> = Object.fromEntries(
  settings.map((setting) => [setting.key, Schema.optionalKey(fieldOf(setting))])
)

const Whole = Schema.Struct({ ...settingFields, ...sections }).annotate({
  title: "The configuration of Sluice",
  expected: "a map of settings: KEY: VALUE on each line"
})

/** The schema of a file, as editors understand it: draft 07. */
export const jsonSchema = (): JsonSchema.JsonSchema => {
  const { schema } = JsonSchema.toDocumentDraft07(
    // Definitions would be named after types of ours, and lose what is said of each use.
    Schema.toJsonSchemaDocument(Whole, { onExcessProperty: "error", referencePolicy: () => undefined })
  )
  return { $schema: JsonSchema.META_SCHEMA_URI_DRAFT_07, ...schema }
}

const sort = (whole: typeof Whole.Type): Config => {
  const { auth, bans, default: otherwise, limits, lists, rules, tests, upstreams, userOptions, users, ...rest } = whole
  return {
    // Each is read by the schema that `Settings` has for it.
    settings: { ...rest as FileSettings, ...typeof users === "string" && { users } },
    users: typeof users === "string" ? undefined : users,
    auth,
    userOptions: userOptions ?? {},
    lists: lists ?? {},
    upstreams: upstreams ?? {},
    limits: limits ?? {},
    bans: "bans" in whole ? bans : defaultBans,
    default: otherwise ?? "allow",
    rules: rules ?? [],
    tests: tests ?? []
  }
}

/** Names that lead nowhere are found once all else is well. */
export const Config: FileValue.FromFile<Config> = Whole.pipe(
  Schema.decodeTo(
    Schema.declare((_value): _value is Config => true),
    {
      decode: SchemaGetter.transformEffect((whole) => {
        const config = sort(whole)
        const [first, ...others] = References.problems(config).map(({ message, path }) =>
          new SchemaIssue.Pointer(path, new SchemaIssue.InvalidValue({ message }))
        )
        return first === undefined
          ? Effect.succeed(config)
          : Effect.fail(new SchemaIssue.Composite(Whole.ast, [first, ...others]))
      }),
      encode: SchemaGetter.forbidden(() => "a configuration is not written back")
    }
  )
)
