/**
 * Reads a list of networks and domains: one on each line, or as hosts files have them, `0.0.0.0 name …`; both may be
 * mixed. What follows a `#` is a comment.
 */
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import * as FileFault from "../transport/FileFault.ts"
import { Files } from "../transport/Files.ts"
import { entryFromString, type List, ListBuilder } from "./List.ts"

/** A list can't be used. */
export class ListFileError extends Data.TaggedError("ListFileError")<{
  readonly path: string
  /** Counts from 1; `undefined` when the file as a whole is at fault. */
  readonly line: number | undefined
  readonly problem: string
  /** What to do about it. */
  readonly fix: string
}> {
  override get message(): string {
    const path = this.path.replaceAll(/\p{Cc}/gu, "?")
    return `${path}${this.line === undefined ? "" : `:${this.line}`}: ${this.problem}; ${this.fix}`
  }
}

/** What every hosts file has for the machine itself, and nobody means to list. */
const ownNames = new Set([
  "localhost",
  "localhost.localdomain",
  "localhost4",
  "localhost6",
  "local",
  "broadcasthost",
  "ip6-localhost",
  "ip6-loopback",
  "ip6-localnet",
  "ip6-mcastprefix",
  "ip6-allnodes",
  "ip6-allrouters",
  "ip6-allhosts"
])

/** Bytes of lines that are taken at once: that holds others up for some milliseconds. */
const chunkSize = 256 * 1024

/** Bytes of a line: a hosts file may name some hundred hosts in one. */
const maxLine = 64 * 1024

const newline = 10

const quote = (text: string): string => JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)

/** Parsing tells what is wrong, which takes longer than all the rest of a line. */
const isAddress = (text: string): boolean => /^[\d.]+$|:/.test(text) && Result.isSuccess(NetAddress.ipFromString(text))

/** Where the entries of a text go, line by line. */
class Lines {
  private readonly path: string
  private readonly builder: ListBuilder
  private line = 0

  constructor(path: string, builder: ListBuilder) {
    this.path = path
    this.builder = builder
  }

  fail(problem: string, fix: string): ListFileError {
    return new ListFileError({ path: this.path, line: this.line, problem, fix })
  }

  /** Takes one entry; what is wrong with it, if something is. */
  private add(text: string): ListFileError | undefined {
    const entry = entryFromString(text)
    if (Result.isSuccess(entry)) return void this.builder.add(entry.success)
    const [why = "", ...fix] = entry.failure.split("; ")
    return this.fail(`${quote(text)} ${why}`, fix.join("; "))
  }

  private hosts(names: ReadonlyArray<string>): ListFileError | undefined {
    for (const name of names) {
      // `0.0.0.0 0.0.0.0` is how some begin.
      if (ownNames.has(name.toLowerCase()) || isAddress(name)) continue
      const error = this.add(name)
      if (error !== undefined) return error
    }
    return undefined
  }

  /** Takes a line, without its end. */
  take(bytes: Buffer): ListFileError | undefined {
    this.line++
    if (bytes.length > maxLine) return this.fail("line is longer than 64 KiB", "write one name or network a line")
    let text = bytes.toString("latin1")
    // Only IDN is more than ASCII.
    if (/[\u0080-\u00ff]/.test(text)) {
      if (text.startsWith("\u00ef\u00bb\u00bf") && this.line === 1) return this.takeAgain(bytes.subarray(3))
      text = bytes.toString("utf8")
      if (text.includes("\ufffd")) return this.fail("not UTF-8 text", "save it as UTF-8")
    }
    const comment = text.indexOf("#")
    const content = (comment === -1 ? text : text.slice(0, comment)).trim()
    if (content === "") return undefined
    if (!/\s/.test(content)) return this.add(content)
    const [first = "", ...names] = content.split(/\s+/)
    // `fe80::1%lo0 localhost`
    return isAddress(first.replace(/%.*/, ""))
      ? this.hosts(names)
      : this.fail(
        `${quote(content)} is more than one entry`,
        "write each on a line of its own, or ADDRESS NAME as hosts files do"
      )
  }

  private takeAgain(bytes: Buffer): ListFileError | undefined {
    this.line--
    return this.take(bytes)
  }
}

const unreadable = (path: string, code: string): ListFileError =>
  new ListFileError({ path, line: undefined, ...FileFault.words(code) })

const takeLines = Effect.fnUntraced(function*(bytes: Buffer, lines: Lines) {
  let turn = chunkSize
  let start = 0
  while (start < bytes.length) {
    const newlineAt = bytes.indexOf(newline, start)
    const end = newlineAt === -1 ? bytes.length : newlineAt
    const error = lines.take(bytes.subarray(start, end))
    if (error !== undefined) return yield* error
    start = end + 1
    if (start < turn) continue
    turn = start + chunkSize
    yield* Effect.yieldNow
  }
})

/** Reads a list. Others get their turn in between: a running proxy goes on while a long one is read anew. */
export const read = Effect.fn("ListFile.read")(function*(name: string, path: string) {
  const builder = new ListBuilder(name)
  const files = yield* Files
  const bytes = yield* Effect.mapError(files.read(path), (code) => unreadable(path, code))
  yield* takeLines(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length), new Lines(path, builder))
  const steps = builder.steps()
  while (true) {
    const { done, value } = steps.next()
    if (done === true) return value satisfies List
    yield* Effect.yieldNow
  }
})
