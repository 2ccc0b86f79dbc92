/** Changes of a users file's text that leave all other lines as they are, comments and order included. */
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as UserFields from "./UserFields.ts"
import * as UsersFile from "./UsersFile.ts"

/** A password that is to be there. */
export interface Edit {
  readonly path: string
  readonly name: string
  readonly hash: Redacted.Redacted<string>
  readonly fields: UserFields.UserFields
  /** What is no longer to be said. */
  readonly lifted?: ReadonlySet<UserFields.Key>
}

/** The fields without those. */
const without = (fields: UserFields.UserFields, lifted: ReadonlySet<UserFields.Key> | undefined) => {
  if (lifted === undefined) return fields
  const left: Record<string, unknown> = { ...fields }
  for (const key of lifted) delete left[key]
  // Which of several is nothing without the several.
  if (lifted.has("egress")) delete left["egress-by"]
  // What is left of fields are fields.
  return left as UserFields.UserFields
}

/** For those who only want to know whether something is in the way. */
export const anyHash = Redacted.make("$argon2id$v=19$m=8,t=1,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA")

/** The new text, or what is in the way, in one line. */
export type Edited = Result.Result<string, string>

const parse = (path: string, text: string): Result.Result<ReadonlyArray<UsersFile.Entry>, string> =>
  Result.mapError(UsersFile.parse(path, text), ({ message }) => message)

/** The lines with their ends. */
const linesOf = (text: string): Array<string> => text === "" ? [] : text.split(/(?<=\r\n|\n|\r(?!\n))/)

const endOf = (line: string): string => /\r?\n?$/.exec(line)?.[0] ?? ""

const render = (name: string, hash: Redacted.Redacted<string>, fields: UserFields.UserFields): string => {
  const behind = UserFields.format(fields)
  return `${name}:${Redacted.value(hash)}${behind === "" ? "" : `:${behind}`}`
}

/** A text that the next reader refuses is no result. */
const checked = (path: string, text: string): Edited => Result.map(parse(path, text), () => text)

const replaceLine = (lines: Array<string>, line: number, content: string): void => {
  lines[line - 1] = content + endOf(lines[line - 1] ?? "")
}

const labelsOf = (entries: ReadonlyArray<UsersFile.Entry>): string =>
  entries.map(({ label }) => label ?? "one without a label").join(", ")

/** The password that is meant. */
const choose = (
  entries: ReadonlyArray<UsersFile.Entry>,
  name: string,
  label: string | undefined
): Result.Result<UsersFile.Entry, string> => {
  const own = entries.filter((entry) => entry.name === name)
  const owner = JSON.stringify(name)
  const [first] = own
  if (first === undefined) return Result.fail(`there is no user ${owner}; sluice user list shows who there is`)
  if (label === undefined && own.length === 1) return Result.succeed(first)
  const found = own.find((entry) => entry.label === label)
  if (found !== undefined) return Result.succeed(found)
  return Result.fail(
    label === undefined
      ? `${owner} has several passwords (${labelsOf(own)}); say which one by --label`
      : `${owner} has no password ${JSON.stringify(label)} but ${labelsOf(own)}; give one of these to --label`
  )
}

/** A line for a user who is not there yet, or for a further password of one who is: below the others of that name. */
export const add = (text: string, { fields, hash, name, path }: Edit): Edited =>
  Result.flatMap(parse(path, text), (entries) => {
    const own = entries.filter((entry) => entry.name === name)
    if (own.some(({ label }) => label === fields.label)) {
      const owner = JSON.stringify(name)
      return Result.fail(
        fields.label === undefined
          ? `user ${owner} is there already; sluice user passwd changes the password, --label adds one`
          : `${owner} has a password ${JSON.stringify(fields.label)} already; choose another --label`
      )
    }
    const lines = linesOf(text)
    const last = lines.at(-1)
    const eol = lines.map(endOf).find((end) => end !== "") ?? "\n"
    if (last !== undefined && endOf(last) === "") lines[lines.length - 1] = last + eol
    lines.splice(own.at(-1)?.line ?? lines.length, 0, render(name, hash, fields) + eol)
    return checked(path, lines.join(""))
  })

/** Another hash for a password that is there, and other fields for those that are given; for those that are lifted, none. */
export const replace = (text: string, { fields, hash, lifted, name, path }: Edit): Edited =>
  Result.flatMap(parse(path, text), (entries) =>
    Result.flatMap(choose(entries, name, fields.label), (entry) => {
      const { hash: _hash, line, name: _name, ...before } = entry
      const lines = linesOf(text)
      replaceLine(lines, line, render(name, hash, { ...without(before, lifted), ...fields }))
      return checked(path, lines.join(""))
    }))

/** Without a user, or without one password of it: what is known of the user goes to the next line of that name. */
export const remove = (text: string, { label, name, path }: {
  readonly path: string
  readonly name: string
  /** Default: all passwords. */
  readonly label?: string | undefined
}): Edited =>
  Result.flatMap(parse(path, text), (entries) => {
    const own = entries.filter((entry) => entry.name === name)
    const chosen = label === undefined
      ? own.length === 0 ? choose(entries, name, label) : Result.succeed(undefined)
      : choose(entries, name, label)
    return Result.flatMap(chosen, (entry) => {
      const lines = linesOf(text)
      const gone = entry === undefined ? own : [entry]
      const heir = own.find((other) => !gone.includes(other))
      if (entry !== undefined && heir !== undefined) {
        const { expires: _expires, hash: _hash, label: _label, line: _line, name: _name, ...ofTheUser } = entry
        const { hash, line, name: _own, ...fields } = heir
        replaceLine(lines, line, render(name, hash, { ...ofTheUser, ...fields }))
      }
      const numbers = new Set(gone.map(({ line }) => line))
      return checked(path, lines.filter((_, index) => !numbers.has(index + 1)).join(""))
    })
  })
