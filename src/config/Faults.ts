/** What a schema complains about, in words for people who write a file. Nothing of what stands in it is repeated but keys. */
import type * as SchemaAST from "effect/SchemaAST"
import type * as SchemaIssue from "effect/SchemaIssue"
import { notOneOf } from "./Fields.ts"
import { hint } from "./Nearest.ts"
import type { Path, Place } from "./Yaml.ts"

/** One complaint; `tell` gives the message, when what stands there is known. */
export interface Complaint {
  readonly path: Path
  /** Of a key that is not known: what misses or breaks elsewhere often follows from that. */
  readonly isUnknownKey?: boolean | undefined
  readonly tell: (place: Place) => string
}

const kindOf = (value: unknown): string => {
  if (Array.isArray(value)) return "is a list"
  if (typeof value === "object") return "is a map"
  // All that is no list and no map is read as a text, whatever it is to YAML.
  const text = String(value)
  if (text === "") return "is empty"
  if (["true", "false"].includes(text)) return `is ${text}`
  return /^-?\d+(?:\.\d+)?$/.test(text) ? "is a number" : "is a text"
}

/** The words of a union of words. */
const choicesOf = (ast: SchemaAST.AST): ReadonlyArray<string> | undefined => {
  if (ast._tag === "Literal") return [String(ast.literal)]
  if (ast._tag !== "Union") return undefined
  const choices = ast.types.flatMap((type) => type._tag === "Literal" ? [String(type.literal)] : [])
  return choices.length === ast.types.length ? choices : undefined
}

const expectedOf = (ast: SchemaAST.AST): string => {
  const expected = ast.annotations?.["expected"]
  if (typeof expected === "string") return expected
  const choices = choicesOf(ast)
  if (choices !== undefined) return `one of ${choices.join(", ")}`
  return ast._tag === "Objects" ? "a map" : ast._tag === "Arrays" ? "a list" : "a text"
}

/** Another kind of value than the one that is wanted. */
const otherKind = (ast: SchemaAST.AST) => ({ value }: Place): string => {
  const choices = choicesOf(ast)
  if (choices !== undefined && typeof value === "string" && value !== "") return notOneOf(value, choices)
  const [kind, expected] = [kindOf(value), expectedOf(ast)]
  // One of several maps was meant.
  return `${
    kind === "is a map" && expected.startsWith("a map") ? "is a map of something else" : kind
  }; write ${expected}`
}

const keysOf = (ast: SchemaAST.AST): ReadonlyArray<string> =>
  ast._tag === "Objects" ? ast.propertySignatures.map(({ name }) => String(name)) : []

/** More than that is no help in one line. */
const mostKeys = 12

const unknownKey = (ast: SchemaAST.AST, path: Path) => (): string => {
  const key = String(path.at(-1))
  const known = keysOf(ast)
  // A hash with its commas in a map in braces falls apart into such keys.
  if (!/^[A-Za-z_][\w-]*$/.test(key)) return "has what is no key; put values with commas or colons in quotes"
  const meant = hint(key, known)
  if (meant !== "") return `no such key${meant}`
  return known.length > mostKeys
    ? "no such key; sluice config example has all of them"
    : `no such key; write one of ${known.join(", ")}`
}

/** Where a key that can't be shown is said to be. */
const shownPath = (path: Path): Path => /^[A-Za-z_][\w-]*$/.test(String(path.at(-1))) ? path : path.slice(0, -1)

/** All that an issue is made of. */
export const fromIssue = (issue: SchemaIssue.Issue, path: Path = []): ReadonlyArray<Complaint> => {
  switch (issue._tag) {
    case "Pointer":
      return fromIssue(issue.issue, [...path, ...issue.path])
    case "Filter":
    case "Encoding":
      return fromIssue(issue.issue, path)
    case "Composite":
      return issue.issues.flatMap((inner) => fromIssue(inner, path))
    case "AnyOf":
      return issue.issues.length > 0
        ? issue.issues.flatMap((inner) => fromIssue(inner, path))
        : [{ path, tell: otherKind(issue.ast) }]
    case "InvalidType":
    case "OneOf":
      return [{ path, tell: otherKind(issue.ast) }]
    case "MissingKey":
      return [{ path, tell: () => "is missing; add it" }]
    case "UnexpectedKey":
      return [{ path: shownPath(path), isUnknownKey: true, tell: unknownKey(issue.ast, path) }]
    case "InvalidValue":
    case "Forbidden": {
      const message = issue.annotations?.message
      return [{ path, tell: () => typeof message === "string" ? message : "can't be used" }]
    }
  }
}
