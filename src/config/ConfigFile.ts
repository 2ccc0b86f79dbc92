/** A configuration file, read from disk with all that it names: lists and secrets. */
import * as Arr from "effect/Array"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as Order from "effect/Order"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { dirname } from "node:path"
import * as List from "../policy/List.ts"
import * as ListFile from "../policy/ListFile.ts"
import type * as Rule from "../policy/Rule.ts"
import * as FileFault from "../transport/FileFault.ts"
import { Files } from "../transport/Files.ts"
import { Config } from "./Config.ts"
import { escape } from "./Escape.ts"
import * as Faults from "./Faults.ts"
import { Reading } from "./FileValue.ts"
import type { Conditions, Item, RuleEntry } from "./RuleConfig.ts"
import * as Settings from "./Settings.ts"
import * as Yaml from "./Yaml.ts"

/** How many lines an error has at most. */
const mostLines = 20

/** A configuration can't be used. Nothing in it is secret. */
export class ConfigErrors extends Data.TaggedError("ConfigErrors")<{
  readonly path: string
  /** One for each mistake, at most 20: `sluice.yaml:3:1 lisen: no such key; did you mean listen?` */
  readonly lines: Arr.NonEmptyReadonlyArray<string>
}> {
  /** One line: the first mistake, and how many more there are. */
  override get message(): string {
    const [first, ...others] = this.lines
    return others.length === 0 ? first : `${first} (and ${others.length} more)`
  }
}

/** A configuration that can be used. */
export interface Loaded {
  /** As it was given. */
  readonly path: string
  readonly config: Config
  /** By their names. */
  readonly lists: ReadonlyMap<string, List.List>
  /** The rules, with the lists that they name. */
  readonly rules: ReadonlyArray<Rule.Rule>
  /** The files that were read: when one changes, so may the configuration. */
  readonly files: ReadonlyArray<string>
  /** Where a key stands: `sluice.yaml:3:1 listen`. */
  readonly sourceOf: (path: Yaml.Path) => string
}

interface Fault extends Yaml.Fault {
  readonly isUnknownKey?: boolean | undefined
}

const placeOf = (path: string, { column, line, path: key }: Omit<Fault, "message">): string =>
  `${path}:${line}:${column}${key === "" ? "" : ` ${key}`}`

/** More than that nobody reads. The place is at the start, and the fix at the end. */
const longestLine = 1000

const shortened = (line: string): string =>
  line.length > longestLine ? `${line.slice(0, longestLine / 2)}…${line.slice(-longestLine / 2)}` : line

const lineOf = (path: string, fault: Fault): string =>
  shortened(`${placeOf(path, fault)}${fault.path === "" ? "" : ":"} ${fault.message}`)

/** Of several faults one is told of first, where there is room for one only: keys that are not known are often why. */
const inOrder = Order.combineAll<Fault>([
  Order.mapInput(Order.Number, ({ isUnknownKey }) => isUnknownKey === true ? 0 : 1),
  Order.mapInput(Order.Number, ({ line }) => line),
  Order.mapInput(Order.Number, ({ column }) => column)
])

const failed = (path: string, faults: ReadonlyArray<Fault>): ConfigErrors => {
  const all = Arr.dedupe(Arr.sort(faults, inOrder).map((fault) => escape(lineOf(path, fault))))
  const shown = all.length > mostLines
    ? [...all.slice(0, mostLines - 1), escape(`${path}: ${all.length - mostLines + 1} more mistakes are not shown`)]
    : all
  return new ConfigErrors({
    path,
    lines: Arr.isReadonlyArrayNonEmpty(shown) ? shown : [escape(`${path}: can't be used`)]
  })
}

/** The settings of a file, and the defaults of those that it doesn't have. */
export const settingsOf = ({ config }: Loaded): Effect.Effect<Settings.Settings> =>
  Effect.map(Effect.orDie(Settings.decode({})), (defaults) => ({ ...defaults, ...config.settings }))

const unreadable = (path: string, code: string): ConfigErrors => {
  const { fix, problem } = FileFault.words(code)
  return new ConfigErrors({ path, lines: [escape(`${path}: ${problem}; ${fix}`)] })
}

const readText = Effect.fnUntraced(function*(path: string) {
  const files = yield* Files
  const bytes = yield* Effect.mapError(files.read(path), (code) => unreadable(path, code))
  return yield* Effect.try({
    try: () => new TextDecoder("utf-8", { fatal: true }).decode(bytes),
    catch: () => new ConfigErrors({ path, lines: [escape(`${path}: is not UTF-8 text; save it as UTF-8`)] })
  })
})

const decode = Schema.decodeUnknownEffect(Config)

/** Reads the text of a file; secrets that it names are read too. `path` is for errors, and for relative paths. */
export const parse = Effect.fnUntraced(function*(path: string, text: string) {
  const document = yield* Effect.mapError(Yaml.parse(text), (faults) => failed(path, faults))
  const secrets = new Set<string>()
  const config = yield* decode(document.value, { errors: "all", onExcessProperty: "error" }).pipe(
    Effect.mapError(({ issue }) =>
      failed(
        path,
        Faults.fromIssue(issue).map((complaint) => {
          const place = document.locate(complaint.path)
          const { column, line, path } = place
          const fault: Fault = {
            line,
            column,
            path,
            message: complaint.tell(place),
            isUnknownKey: complaint.isUnknownKey
          }
          return fault
        })
      )
    ),
    Effect.provideService(Reading, { folder: dirname(path), secrets })
  )
  return { config, document, secrets }
})

/** All lists, or what is wrong with each of those that can't be used. */
const readLists = Effect.fnUntraced(function*(path: string, config: Config, document: Yaml.Document) {
  const faults: Array<Fault> = []
  const lists = new Map<string, List.List>()
  for (const [name, entry] of Object.entries(config.lists)) {
    if (!("file" in entry)) {
      lists.set(name, List.List.make(name, entry))
      continue
    }
    const list = yield* Effect.result(ListFile.read(name, entry.file))
    if (Result.isSuccess(list)) lists.set(name, list.success)
    else faults.push({ ...document.locate(["lists", name, "file"]), message: list.failure.message })
  }
  return faults.length === 0 ? lists : yield* failed(path, faults)
})

const conditionsOf = (conditions: Conditions, lists: ReadonlyMap<string, List.List>): Rule.Conditions => {
  const { clients, to, ...others } = conditions
  const known = ({ entry, text }: Item) => lists.get(text) ?? entry
  return {
    ...others,
    // What is a domain among clients has been complained about.
    clients: clients?.map(known).filter((item) => item._tag !== "Domain"),
    to: to?.map(known)
  }
}

/** The rules of a configuration, with its lists in the place of their names. */
export const rulesOf = (
  rules: ReadonlyArray<RuleEntry>,
  lists: ReadonlyMap<string, List.List>
): ReadonlyArray<Rule.Rule> =>
  rules.map(({ conditions, not, ...rule }) => ({
    ...rule,
    conditions: conditionsOf(conditions, lists),
    ...not !== undefined && { not: conditionsOf(not, lists) }
  }))

/** Reads a configuration file, and the lists and secrets that it names. */
export const load: (path: string) => Effect.Effect<Loaded, ConfigErrors> = Effect.fn("ConfigFile.load")(
  function*(path: string) {
    const { config, document, secrets } = yield* parse(path, yield* readText(path))
    const lists = yield* readLists(path, config, document)
    const loaded: Loaded = {
      path,
      config,
      lists,
      rules: rulesOf(config.rules, lists),
      files: [
        path,
        ...secrets,
        ...Object.values(config.lists).flatMap((list) => "file" in list ? [list.file] : [])
      ],
      sourceOf: (key) => escape(placeOf(path, document.locate(key)))
    }
    return loaded
  }
)
