/** A text in YAML (JSON is YAML) as plain values, and where in the text each of them stands. */
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import type * as Yaml from "yaml"
import { cut, quote } from "./Escape.ts"

export type Path = ReadonlyArray<PropertyKey>

/** A place in the text. */
export interface Place {
  /** Both count from 1. */
  readonly line: number
  readonly column: number
  /** `rules[2].ports`: as much of a path as is written there. */
  readonly path: string
  /** What stands there. */
  readonly value: unknown
}

/** What is wrong somewhere. `message` follows the path, if there is one; nothing of the text is in it but keys. */
export interface Fault extends Pick<Place, "line" | "column" | "path"> {
  readonly message: string
}

export interface Document {
  /** Maps, lists and texts: numbers, dates and the like are as they were written, and what is left out is empty. */
  readonly value: unknown
  /** Of a key in a map, or of an item in a list; of what is missing, that of the map that misses it. */
  readonly locate: (path: Path) => Place
}

/** What nests deeper, or repeats more by aliases, is no configuration, but meant to eat memory. */
const deepest = 100
const mostRepeated = 10_000

const missing = "something is missing here: a colon with a space behind it, a comma, or a closing bracket"

/** The parser's words quote the text at times, and a password may be in it. */
const wordsFor = (error: Yaml.YAMLError): string => {
  switch (error.code) {
    case "DUPLICATE_KEY":
      return "this key is there twice; remove one of them"
    case "TAB_AS_INDENT":
      return "a tab at the start of a line; indent with spaces"
    case "BAD_INDENT":
      // Of brackets it says so too where none closes them.
      if (error.message.startsWith("Flow")) return missing
      return "indented otherwise than the lines around it; give all keys of a map the same column"
    case "MULTIPLE_DOCS":
      return "a second document begins; keep one"
    case "BAD_SCALAR_START":
      return "a value can't start with this character; put it in quotes"
    case "BAD_ALIAS":
    case "ALIAS_PROPS":
      return "* and & mean something to YAML here; put the value in quotes"
    case "BAD_DQ_ESCAPE":
      return "no such escape in double quotes; write \\\\ for a backslash, or use single quotes"
    case "TAG_RESOLVE_FAILED":
    case "BAD_COLLECTION_TYPE":
      return "! means a type to YAML, which is not known here; put the value in quotes"
    case "BLOCK_AS_IMPLICIT_KEY":
      return "a colon with a space behind it in a value; put the value in quotes"
    case "NON_STRING_KEY":
      return "a key must be a text"
    case "RESOURCE_EXHAUSTION":
      return "nested too deeply"
    case "MISSING_CHAR":
      return error.message.endsWith("quote")
        ? "a quote that nothing closes"
        : missing
    case "MULTILINE_IMPLICIT_KEY":
      return "no colon behind a key, or a value that goes on over several lines"
    default:
      return "not YAML; look at the brackets, the quotes and the colons here"
  }
}

const isIdentifier = (key: string): boolean => /^[A-Za-z_][\w-]*$/.test(key)

const join = (path: string, step: PropertyKey): string => {
  if (typeof step === "number") return `${path}[${step}]`
  const key = String(step)
  const shown = isIdentifier(key) ? cut(key) : `[${quote(key)}]`
  return path === "" || shown.startsWith("[") ? path + shown : `${path}.${shown}`
}

class Unusable extends Error {
  readonly offset: number
  constructor(offset: number, message: string) {
    super(message)
    this.offset = offset
  }
}

type Library = typeof Yaml

const read = (yaml: Library, text: string): Result.Result<Document, ReadonlyArray<Fault>> => {
  const { isAlias, isMap, isScalar, isSeq, LineCounter, parseDocument } = yaml
  const lines = new LineCounter()
  // "failsafe" leaves every scalar as it was written: 08:00 is no number of minutes, and 1.10 not 1.1.
  const document = parseDocument(text, {
    schema: "failsafe",
    lineCounter: lines,
    prettyErrors: false,
    stringKeys: true,
    // Silence would hide that there are several documents.
    logLevel: "error"
  })
  const at = (offset: number) => {
    const { col, line } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const fault = (offset: number, message: string): Fault => ({ ...at(offset), path: "", message })
  // An editor, or a full disk, may have cut it short: that is not to pass for a wish for all defaults.
  if (text.trim() === "") {
    return Result.fail([fault(0, "is empty; write KEY: VALUE on each line, or {} for nothing but defaults")])
  }
  // Of a type that it does not know the library only warns, and takes what it can get.
  const errors = [...document.errors, ...document.warnings.filter(({ code }) => code === "TAG_RESOLVE_FAILED")]
  if (errors.length > 0) return Result.fail(errors.map((error) => fault(error.pos[0], wordsFor(error))))

  const follow = (node: unknown): unknown => {
    if (!isAlias(node)) return node
    const target = node.resolve(document)
    if (target === undefined) {
      throw new Unusable(
        node.range?.[0] ?? 0,
        "* makes an alias in YAML, and there is no such anchor; put it in quotes"
      )
    }
    return target
  }
  let repeated = 0
  const valueOf = (given: unknown, depth: number, aliased: boolean): unknown => {
    const node = follow(given)
    const offset = (given as Yaml.Node | null)?.range?.[0] ?? 0
    const again = aliased || node !== given
    if (again && ++repeated > mostRepeated) throw new Unusable(offset, "aliases repeat too much")
    if (depth > deepest) throw new Unusable(offset, "nested too deeply")
    if (isScalar(node)) return isNull(node) ? "" : String(node.value ?? "")
    if (isSeq(node)) return node.items.map((item) => valueOf(item, depth + 1, again))
    if (!isMap(node)) return ""
    return Object.fromEntries(
      node.items.map(({ key, value }) => [keyOf(yaml, key), valueOf(value, depth + 1, again)])
    )
  }
  try {
    const { contents } = document
    const value = isScalar(contents) && contents.source === ""
      ? {}
      : contents === null
      ? {}
      : valueOf(contents, 0, false)
    return Result.succeed({ value, locate: (path) => locate({ yaml, contents, value, follow, at }, path) })
  } catch (error) {
    if (error instanceof Unusable) return Result.fail([fault(error.offset, error.message)])
    throw error
  }
}

/** What YAML has for nothing, which is so to editors as well; in quotes it is a text. */
const isNull = ({ type, value }: Yaml.Scalar): boolean =>
  type === "PLAIN" && /^(?:~|null|Null|NULL)$/.test(String(value))

const keyOf = ({ isScalar }: Library, key: unknown): string => isScalar(key) ? String(key.value ?? "") : String(key)

interface Ground {
  readonly yaml: Library
  readonly contents: unknown
  readonly value: unknown
  readonly follow: (node: unknown) => unknown
  readonly at: (offset: number) => Pick<Place, "line" | "column">
}

const offsetOf = (node: unknown, otherwise: number): number =>
  // Every kind of node has a range once it has been parsed.
  (node as Yaml.Node | null)?.range?.[0] ?? otherwise

/** Follows a path as far as there is something; a step into what is no list is one that the schema has added. */
const locate = ({ at, contents, follow, value, yaml }: Ground, path: Path): Place => {
  let node = follow(contents)
  let offset = offsetOf(contents, 0)
  let shown = ""
  let here = value
  for (const step of path) {
    if (yaml.isMap(node) && typeof step === "string") {
      const pair = node.items.find(({ key }) => keyOf(yaml, key) === step)
      shown = join(shown, step)
      here = (here as Readonly<Record<string, unknown>>)[step]
      // It is missing.
      if (pair === undefined) break
      offset = offsetOf(pair.key, offset)
      node = follow(pair.value)
    } else if (yaml.isSeq(node) && typeof step === "number") {
      const item = node.items[step]
      shown = join(shown, step)
      here = (here as ReadonlyArray<unknown>)[step]
      offset = offsetOf(item, offset)
      node = follow(item)
    } else if (typeof step !== "number") {
      break
    }
  }
  return { ...at(offset), path: shown, value: here }
}

// A bundle loads what it leaves out at its start, unless it is asked for like this.
const importYaml = Effect.promise(() => import("yaml"))

/** Reads the text, all of whose mistakes in YAML are told at once. */
export const parse = (text: string): Effect.Effect<Document, ReadonlyArray<Fault>> =>
  Effect.flatMap(importYaml, (yaml) => Effect.fromResult(read(yaml, text)))
