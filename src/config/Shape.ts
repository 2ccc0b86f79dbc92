/**
 * What an editor is told of a value, by JSON Schema: how a text of it looks, and whether it may be a bare number. It may
 * take more than the program does, never less.
 */
import * as Schema from "effect/Schema"
import * as SchemaAST from "effect/SchemaAST"

export interface Shape {
  /** Every text that will do matches it. JSON Schema knows no flags, and many who read it no look-around. */
  readonly text: RegExp
  /** Words to choose from, among what matches. */
  readonly words?: ReadonlyArray<string>
  /** What YAML and JSON have as a number; without it no bare number will do. */
  readonly number?: {
    readonly type?: "integer"
    readonly minimum?: number
    readonly exclusiveMinimum?: number
    readonly maximum?: number
  }
  /** Whether `true` and `false` will do. */
  readonly boolean?: boolean
}

const key = "sluice/config/Shape"

/** Says of a schema what its texts look like. */
export const annotate = <S extends Schema.Top>(schema: S, shape: Shape): S["Rebuild"] =>
  schema.annotate({ [key]: shape })

/** What has been said of a schema. */
export const of = (schema: Schema.Top): Shape | undefined => SchemaAST.resolveAt<Shape>(key)(schema.ast)

/** A check that everything passes here, since a parser with better words follows. */
const told = <T>(json: Readonly<Record<string, unknown>>) =>
  Schema.makeFilter<T>(() => true, { toJsonSchema: () => json })

type Written = Schema.Codec<string | number | boolean>

const anything: ReadonlyArray<Written> = [Schema.String, Schema.Finite, Schema.Boolean]

/** What may be written where a text is read; a number and a truth value are texts too, as they stand there. */
export const written = (shape: Shape | undefined): Schema.Union<ReadonlyArray<Written>> => {
  if (shape === undefined) return Schema.Union(anything)
  const { boolean = false, number, text, words } = shape
  return Schema.Union([
    ...boolean ? [Schema.Boolean] : [],
    ...words === undefined ? [] : [Schema.Literals(words)],
    Schema.String.check(told({ pattern: text.source })),
    ...number === undefined ? [] : [Schema.Finite.check(told(number))]
  ])
}

/** Whole numbers from one to another. */
export const whole = (minimum: number, maximum: number): NonNullable<Shape["number"]> => ({
  type: "integer",
  minimum,
  maximum
})

/** One of these words, as the source of a pattern. */
export const oneOf = (words: ReadonlyArray<string>): string => `(?:${words.join("|")})`

/** The same in upper or lower case, of letters and digits. */
export const inAnyCase = (words: ReadonlyArray<string>): string =>
  oneOf(words.map((word) => word.replaceAll(/[a-z]/g, (letter) => `[${letter}${letter.toUpperCase()}]`)))
