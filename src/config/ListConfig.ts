/** `lists:` of a configuration file. */
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import type * as List from "../policy/List.ts"
import { quote } from "./Escape.ts"
import * as FileValue from "./FileValue.ts"
import { entry } from "./RuleConfig.ts"

/** The path of a file, or what is in the list. */
export type ListEntry = { readonly file: string } | ReadonlyArray<List.Entry>

const FromFile = Schema.Struct({
  file: FileValue.path({ description: "A network or a domain on each line, or as hosts files have them" })
}).annotate({ expected: "a map with file" })

/** A list's name stands where a domain could, and is told from it by being known. */
const listName = /^[A-Za-z][A-Za-z\d_-]*$/

export const ListConfig: FileValue.FromFile<Readonly<Record<string, ListEntry>>> = FileValue.parsed(
  FileValue.mapOf(
    Schema.Union([FromFile, FileValue.listOf(entry)]).annotate({
      expected: "a list of networks and domains, or a map with file"
    }) as FileValue.FromFile<ListEntry>,
    {
      description: "Lists of networks and domains, by their names, which rules name: in a file, or here",
      expected: "a map of lists"
    }
  ),
  (lists) => {
    const bad = Object.keys(lists).find((name) => !listName.test(name))
    return bad === undefined
      ? Result.succeed(lists)
      : Result.fail(`${quote(bad)} is no name for a list; take letters, digits, - and _`)
  }
)
