/** `sluice user`: who is in a users file. */
import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { escape } from "../config/Escape.ts"
import type { Key, UserFields } from "../policy/UserFields.ts"
import * as Egress from "../transport/Egress.ts"
import { unusable } from "./CommandError.ts"
import * as NewPassword from "./NewPassword.ts"
import * as Print from "./Print.ts"

// Only those who edit users pay for what does it.
const importEdit = Effect.promise(() => import("../policy/UsersFileEdit.ts"))
const importFields = Effect.promise(() => import("../policy/UserFields.ts"))
const importFile = Effect.promise(() => import("./FileEdit.ts"))
const importHash = Effect.promise(() => import("../policy/PasswordHash.ts"))
const importUsers = Effect.promise(() => import("../policy/UsersFile.ts"))

const file = Argument.String("FILE").pipe(Argument.withDescription("The users file, as --users takes it"))

const checkFile = (file: string) => file === "" ? unusable("FILE: is empty; give the path of a file") : Effect.void

const name = Argument.String("NAME").pipe(
  Argument.withDescription("The user's name. Never the password: that is asked for, or read from standard input")
)

const text = (name: string, metavar: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar(metavar), Flag.withDescription(description), Flag.optional)

const label = text("label", "WORD", "Which of several passwords of the user")

const withoutPassword = Flag.Boolean("without-password").pipe(
  Flag.withDescription("Ask for none: whoever gives this name needs no password, in SOCKS4 too"),
  Flag.withDefault(false)
)

const flags = {
  label,
  groups: text("groups", "NAME,...", "The groups that the user is in"),
  expires: text("expires", "DATE", "When the password ceases to be good: 2027-06-30, or 2027-06-30T12:00:00Z"),
  from: text("from", "CIDR,...", "The networks that the user may log in from"),
  limits: text("limits", "NAME", "The limit class of the user"),
  egress: text("egress", "SOURCE,...", "What the user goes out from: addresses, networks, interfaces of this machine"),
  "egress-by": text("egress-by", "HOW", `Which of several, as the setting has it: ${Egress.choices.join(", ")}`),
  withoutPassword
}

const columns = ["label", "groups", "expires", "from", "limits", "egress", "egress-by"] as const

type Given = { readonly [K in Key]: Option.Option<string> }

/** The flags that are given, as fields of a line; an empty one lifts what was said before. */
const fieldsOf = Effect.fnUntraced(function*(given: Given, mayLift: boolean) {
  const UserFields = yield* importFields
  const fields: UserFields = {}
  const lifted = new Set<Key>()
  for (const key of columns) {
    const value = given[key]
    if (Option.isNone(value)) continue
    if (mayLift && value.value === "" && key !== "label") {
      lifted.add(key)
      continue
    }
    const parsed = UserFields.valueOf(key, value.value)
    if (Result.isFailure(parsed)) {
      return yield* unusable(`--${key}: ${parsed.failure.problem}; ${parsed.failure.fix}`)
    }
    Object.assign(fields, parsed.success)
  }
  return { fields, lifted }
})

const checkName = Effect.fnUntraced(function*(name: string) {
  const { problemOfName } = yield* importUsers
  const problem = problemOfName(name)
  // What was given may be a password by mistake, so it is not repeated.
  if (problem !== undefined) return yield* unusable(`NAME: ${problem}; give the name that the user logs in with`)
})

interface Input extends Given {
  readonly file: string
  readonly name: string
  readonly withoutPassword: boolean
}

/** Asks for a password, and puts it into the file. */
const put = (what: "add" | "replace") =>
  Effect.fnUntraced(function*({ file, name, withoutPassword, ...given }: Input) {
    yield* checkFile(file)
    yield* checkName(name)
    const { fields, lifted } = yield* fieldsOf(given, what === "replace")
    const Edit = yield* importEdit
    const FileEdit = yield* importFile
    const { hash } = yield* importHash
    const withHash = (hash: Redacted.Redacted<string>) => ({
      change: (text: string) => Edit[what](text, { path: file, name, hash, fields, lifted }),
      create: what === "add"
    })
    // Before anybody thinks of a password that is of no use, and holds the lock meanwhile.
    yield* FileEdit.check(file, withHash(Edit.anyHash))
    const password = yield* NewPassword.take({ without: withoutPassword })
    yield* FileEdit.edit(file, withHash(Redacted.make(yield* hash(password))))
  })

const add = Command.make("add", { file, name, ...flags }, put("add")).pipe(
  Command.withDescription(
    "Add a user, or with --label a further password of one who is there; makes the file if need be"
  )
)

const passwd = Command.make("passwd", { file, name, ...flags }, put("replace")).pipe(
  Command.withDescription(
    "Change a user's password, and with it what is given besides; an empty text, as in --groups '', takes back what was said"
  )
)

const remove = Command.make(
  "remove",
  { file, name, label },
  Effect.fnUntraced(function*({ file, label, name }) {
    yield* checkFile(file)
    yield* checkName(name)
    const Edit = yield* importEdit
    const { edit } = yield* importFile
    const which = { path: file, name, label: Option.getOrUndefined(label) }
    yield* edit(file, { change: (text) => Edit.remove(text, which), create: false })
  })
).pipe(Command.withDescription("Remove a user, or with --label one of the user's passwords"))

const list = Command.make(
  "list",
  { file, name: Argument.optional(name) },
  Effect.fnUntraced(function*({ file, name }) {
    yield* checkFile(file)
    const UserFields = yield* importFields
    const { read } = yield* importUsers
    const entries = yield* Effect.mapError(read(file), ({ message }) => unusable(message))
    const wanted = entries.filter((entry) => Option.isNone(name) || entry.name === name.value)
    if (wanted.length === 0 && Option.isSome(name)) return yield* unusable(`${file}: there is no such user`)
    const rows = [
      ["name", ...columns],
      ...wanted.map((entry) => [entry.name].concat(columns.map((key) => UserFields.formatField(entry, key) ?? "-")))
    ].map((row) => row.map(escape))
    const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? []
    yield* Print.print(
      rows.map((row) => row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ").trimEnd()).join("\n")
    )
  })
).pipe(Command.withDescription("Show who is in the file: a line for each password, never the hash"))

export const user = Command.make("user").pipe(
  Command.withDescription("Edit a users file: locked, replaced as a whole, readable for its owner only"),
  Command.withShortDescription("Edit a users file"),
  Command.withSubcommands([add, passwd, remove, list])
)
