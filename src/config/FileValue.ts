/**
 * The kinds of values in a configuration file, each a schema from what stands there. Descriptions and defaults are on the
 * written side, since that is what editors complete.
 */
import * as Arr from "effect/Array"
import * as Config from "effect/Config"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import * as SchemaGetter from "effect/SchemaGetter"
import * as SchemaIssue from "effect/SchemaIssue"
import { isAbsolute, join } from "node:path"
import * as FileFault from "../transport/FileFault.ts"
import { Files } from "../transport/Files.ts"
import { cut } from "./Escape.ts"
import { FilePath, Switch } from "./Fields.ts"
import * as Shape from "./Shape.ts"

/** A schema of what may stand in a file. */
export type FromFile<A> = Schema.Codec<A, unknown>

/** What an editor shows for a key. */
export interface Docs {
  readonly description?: string
  readonly default?: unknown
  readonly examples?: ReadonlyArray<unknown>
  /** In the words of a complaint: "write …". */
  readonly expected?: string
  /** What texts look like, where it isn't said of what they are read by. */
  readonly shape?: Shape.Shape | undefined
}

/** What a file is read with. */
export interface Reading {
  /** Where relative paths start from. */
  readonly folder: string
  /** The paths of the secrets that were read. */
  readonly secrets: Set<string>
}

export const Reading = Context.Reference<Reading>("sluice/config/Reading", {
  defaultValue: () => ({ folder: ".", secrets: new Set() })
})

/** A configuration is read, and never written back. */
const forbidden = <T, E>() => SchemaGetter.forbidden<T, E>(() => "a configuration is not written back")

/** Defaults and examples are as they are written in a file, which schemas have no type for. */
const shown = (docs: Docs): Pick<Docs, "description" | "expected"> => docs

/** A step from what was read to something better, which may fail with a message. */
export const refine = <A, B>(from: FromFile<A>, to: (value: A) => Effect.Effect<B, string>): FromFile<B> =>
  from.pipe(Schema.decodeTo(
    // Whatever `to` makes is one.
    Schema.declare((_value): _value is B => true),
    {
      decode: SchemaGetter.transformEffect((value: A) =>
        Effect.mapError(to(value), (message) => new SchemaIssue.InvalidValue({ message }))
      ),
      encode: forbidden()
    }
  ))

/** The same without waiting. */
export const parsed = <A, B>(from: FromFile<A>, to: (value: A) => Result.Result<B, string>): FromFile<B> =>
  refine(from, (value) => Effect.fromResult(to(value)))

/** What always succeeds. */
export const mapped = <A, B>(from: FromFile<A>, to: (value: A) => B): FromFile<B> =>
  refine(from, (value) => Effect.succeed(to(value)))

/** A text; a number is one too. */
export const text = ({ shape, ...docs }: Docs = {}): FromFile<string> =>
  Shape.written(shape).annotate(shown({ expected: "a text", ...docs })).pipe(
    Schema.decodeTo(Schema.String, { decode: SchemaGetter.transform(String), encode: forbidden() })
  )

/** A name of something. Left empty it would be nobody's: a rule for it would hold for none. */
export const name = (docs: Docs = {}): FromFile<string> =>
  parsed(
    text({ shape: { text: /[\s\S]/, number: {}, boolean: true }, ...docs }),
    (name) => name === "" ? Result.fail("is empty; write a name, or leave it out") : Result.succeed(name)
  )

/** What is read from a text. */
export const as = <A>(schema: Schema.Codec<A, string>, docs?: Docs): FromFile<A> =>
  text({ shape: Shape.of(schema), ...docs }).pipe(Schema.decodeTo(schema))

/** Yes or no. */
export const flag = (docs: Docs = {}): FromFile<boolean> => as(Switch, { expected: "true or false", ...docs })

/** One of several words. */
export const choice = <const Word extends string>(words: ReadonlyArray<Word>, docs: Docs = {}): FromFile<Word> =>
  Schema.Literals(words).annotate(shown(docs))

/** A list; a lone value is a list of one. */
export const listOf = <A>(item: FromFile<A>, docs: Docs = {}): FromFile<ReadonlyArray<A>> =>
  mapped(
    Schema.Union([Schema.Array(item), item]).annotate(shown({ expected: "a list", ...docs })) as FromFile<
      ReadonlyArray<A> | A
    >,
    // No item is a list itself.
    (value) => Array.isArray(value) ? value as ReadonlyArray<A> : [value as A]
  )

/** With one item at least. */
export const nonEmpty = <A>(
  from: FromFile<ReadonlyArray<A>>,
  message: string
): FromFile<Arr.NonEmptyReadonlyArray<A>> =>
  parsed(from, (list) => Arr.isReadonlyArrayNonEmpty(list) ? Result.succeed(list) : Result.fail(message))

/** A map from names of one's own. */
export const mapOf = <A>(value: FromFile<A>, docs: Docs = {}): FromFile<Readonly<Record<string, A>>> =>
  Schema.Record(Schema.String, value).annotate(shown({ expected: "a map", ...docs }))

/** From the folder, where it isn't absolute. */
export const inFolder = (path: string): Effect.Effect<string> =>
  Effect.map(Reading, ({ folder }) => isAbsolute(path) ? path : join(folder, path))

/** The path of a file. */
export const path = (docs?: Docs): FromFile<string> => refine(as(FilePath, docs), inFolder)

/** What the file holds; a path is no secret. */
const readSecret = Effect.fnUntraced(function*(path: string): Effect.fn.Return<Redacted.Redacted<string>, string> {
  const { secrets } = yield* Reading
  secrets.add(path)
  const files = yield* Files
  const bytes = yield* Effect.mapError(
    files.read(path),
    (code) => {
      const { fix, problem } = FileFault.words(code)
      return `${path}: ${problem}; ${fix}`
    }
  )
  const secret = Buffer.from(bytes).toString().replace(/\r?\n$/, "")
  if (secret === "") return yield* Effect.fail(`${path}: is empty; write the secret on its first line`)
  if (/[\r\n]/.test(secret)) return yield* Effect.fail(`${path}: has more than one line; leave one, the secret`)
  return Redacted.make(secret)
})

/** A secret in a file of its own, which has one line. */
export const secretFile = (docs?: Docs): FromFile<Redacted.Redacted<string>> => refine(path(docs), readSecret)

const readVariable = Effect.fnUntraced(function*(name: string): Effect.fn.Return<Redacted.Redacted<string>, string> {
  // It may be the secret itself, by mistake.
  if (!/^[A-Za-z_]\w*$/.test(name)) {
    return yield* Effect.fail(
      "is not the name of an environment variable; write the name alone, such as PROXY_PASSWORD"
    )
  }
  const value = yield* Effect.orElseSucceed(Config.option(Config.String(name)), Option.none)
  return Option.isSome(value) && value.value !== ""
    ? Redacted.make(value.value)
    : yield* Effect.fail(`the environment variable ${cut(name)} is not set; set it, or name another one`)
})

/** A secret in the environment. */
export const secretVariable = (docs?: Docs): FromFile<Redacted.Redacted<string>> =>
  refine(text({ shape: { text: /^[A-Za-z_]\w*$/ }, ...docs }), readVariable)

/** A secret in the file itself, redacted from the start. */
export const secret = (docs?: Docs): FromFile<Redacted.Redacted<string>> =>
  mapped(text(docs), (text) => Redacted.make(text))
