/** The flags of `serve`, and the environment behind them, derived from the settings. */
import * as Arr from "effect/Array"
import * as CliError from "effect/cli/CliError"
import * as Flag from "effect/cli/Flag"
import * as Param from "effect/cli/Param"
import * as Primitive from "effect/cli/Primitive"
import * as Config from "effect/Config"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import type { Loaded } from "../config/ConfigFile.ts"
import * as Settings from "../config/Settings.ts"
import * as CommandError from "./CommandError.ts"

/** What was written, where: `source` is `--listen` or `SLUICE_LISTEN`. */
export interface Given {
  readonly source: string
  readonly value: unknown
}

/** The values that were given, by the settings' keys. */
export type Input = Readonly<Record<string, Option.Option<Given>>>

/** Settings, and where each comes from. */
export interface Effective {
  readonly settings: Settings.Settings
  /** The flag, the variable or the place in the file that set it; the flag when nothing did. */
  readonly sourceOf: (key: keyof Settings.Settings) => string
  /** Whether anybody set it. */
  readonly isGiven: (key: keyof Settings.Settings) => boolean
  /** The configuration file, if there is one. */
  readonly loaded: Loaded | undefined
}

/** Reads a configuration file. Who has none doesn't pay for what reads it. */
export const loadFile = Effect.fnUntraced(function*(path: string) {
  const { load } = yield* Effect.promise(() => import("../config/ConfigFile.ts"))
  return yield* Effect.mapError(
    load(path),
    ({ lines: [first, ...more] }) => new CommandError.CommandError({ exitCode: 2, message: first, more })
  )
})

/**
 * The value of a variable as the flag would have it. An empty one, or a list of nothing but separators, is as good as
 * none; but not an empty path, since who sets it means that there is a file.
 */
const split = ({ kind, repeatable, secret }: Settings.Setting, text: string): Option.Option<unknown> => {
  if (text === "" && kind !== "path") return Option.none()
  const words = repeatable === true ? text.split(/[\s,]+/).filter((word) => word !== "") : [text]
  const concealed: ReadonlyArray<unknown> = secret === true ? words.map((word) => Redacted.make(word)) : words
  return repeatable === true
    ? Option.liftPredicate(concealed, Arr.isReadonlyArrayNonEmpty)
    : Arr.head(concealed)
}

const fromEnvironment = (setting: Settings.Setting) =>
  Config.option(Config.String(setting.variable)).pipe(
    Effect.mapError((cause) => new CliError.UserError({ cause })),
    Effect.map(Option.flatMap((text) => split(setting, text))),
    Effect.map(Option.map((value): Given => ({ source: setting.variable, value })))
  )

/** A path as it was written. `Flag.Path` would look it up and complete it, an empty one to the current directory. */
const path = (flag: string): Flag.Flag<string> =>
  Param.makeSingle({
    kind: Param.flagKind,
    name: flag,
    primitiveType: Object.assign(Primitive.Path("file"), { parse: (text: string) => Effect.succeed(text) })
  })

const base = ({ choices, flag, kind, secret }: Settings.Setting): Flag.Flag<unknown> => {
  if (kind === "switch") return Flag.map(Flag.Boolean(flag), String)
  if (kind === "path") return path(flag)
  if (choices !== undefined) return Flag.Literals(flag, choices)
  return secret === true ? Flag.Redacted(flag) : Flag.String(flag)
}

const helpOf = (setting: Settings.Setting): string => {
  const value = setting.kind === "switch" ? undefined : setting.default ?? setting.otherwise
  return [
    setting.description,
    ...value === undefined ? [] : [`(default: ${value})`],
    ...setting.repeatable === true ? ["(repeatable)"] : [],
    `[env: ${setting.variable}]`
  ].join(" ")
}

const make = (setting: Settings.Setting): Flag.Flag<Option.Option<Given>> => {
  const one = base(setting).pipe(Flag.withDescription(helpOf(setting)))
  const named = setting.metavar === undefined ? one : Flag.withMetavar(one, setting.metavar)
  // Without one at least, the environment's list is asked for.
  const given: Flag.Flag<unknown> = setting.repeatable === true ? Flag.atLeast(named, 1) : named
  return given.pipe(
    Flag.map((value) => Option.some<Given>({ source: `--${setting.flag}`, value })),
    Flag.withDefault(fromEnvironment(setting))
  )
}

/** One flag for each setting; a flag wins over its variable. */
export const flags: Readonly<Record<string, Flag.Flag<Option.Option<Given>>>> = Object.fromEntries(
  Settings.all.map((setting) => [setting.key, make(setting)])
)

/** Reads the settings from what was given. */
export const effective = Effect.fn("Flags.effective")(function*(input: Input) {
  const given = new Map<PropertyKey, Given>()
  for (const [key, value] of Object.entries(input)) {
    if (Option.isSome(value)) given.set(key, value.value)
  }
  const nameOf = (key: PropertyKey | undefined): string | undefined =>
    (key === undefined ? undefined : given.get(key)?.source) ??
      Settings.all.filter((setting) => setting.key === key).map(({ flag }) => `--${flag}`)[0]

  const settings = yield* Settings.decode(
    Object.fromEntries(Array.from(given, ([key, { value }]) => [key, value]))
  ).pipe(
    Effect.mapError(({ key, message }) => CommandError.unusable(`${nameOf(key) ?? "settings"}: ${message}`))
  )
  const loaded = settings.config === undefined ? undefined : yield* loadFile(settings.config)
  const inFile = Object.entries(loaded?.config.settings ?? {}).filter(([key]) => !given.has(key))
  const isInFile = (key: string): boolean => inFile.some(([own]) => own === key)
  const effective: Effective = {
    // Whatever the file has of them has their types.
    settings: { ...settings, ...Object.fromEntries(inFile) },
    sourceOf: (key) => loaded !== undefined && isInFile(key) ? loaded.sourceOf([key]) : nameOf(key) ?? key,
    isGiven: (key) => given.has(key) || isInFile(key),
    loaded
  }
  return effective
})
