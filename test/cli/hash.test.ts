import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Stream from "effect/Stream"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as UsersFile from "../../src/policy/UsersFile.ts"
import * as Cli from "../support/Cli.ts"

const stdin = (text: string) => ({ stdin: Stream.make(new TextEncoder().encode(text)) })

describe("sluice hash", () => {
  it.live("prints the hash of a password from standard input", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Cli.run(["hash"], stdin("S3cr3t canary\n"))
      assert.deepStrictEqual([code, stderr], [0, ""])
      assert.match(stdout, /^\$argon2id\$v=19\$m=\d+,t=\d+,p=1\$\S+\n$/)
      assert.isTrue(yield* PasswordHash.verify(stdout.trim(), Redacted.make("S3cr3t canary")))
    }))

  it.live("prints a line of the users file for a name", () =>
    Effect.gen(function*() {
      const { code, stdout } = yield* Cli.run(["hash", "alice"], stdin("pa:ss"))
      assert.strictEqual(code, 0)
      const entries = Result.getOrThrow(UsersFile.parse("users", stdout))
      assert.deepStrictEqual(entries.map(({ name }) => name), ["alice"])
      const hash = Redacted.value(entries[0]?.hash ?? Redacted.make(""))
      assert.isTrue(yield* PasswordHash.verify(hash, Redacted.make("pa:ss")))
    }))

  it.live("hashes the empty password only where that is meant", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Cli.run(["hash", "--without-password", "ann"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      const [entry] = Result.getOrThrow(UsersFile.parse("users", stdout))
      assert.strictEqual(entry?.name, "ann")
      const hash = Redacted.value(entry?.hash ?? Redacted.make("none"))
      assert.isTrue(yield* PasswordHash.verify(hash, Redacted.make("")))
    }))

  it.live.each<readonly [input: string, complaint: string]>([
    ["", "sluice: password: is empty; write one to standard input\n"],
    ["\n", "sluice: password: is empty; write one to standard input\n"],
    ["S3cr3t\ncanary\n", "sluice: standard input: has more than one line; write one password to it\n"],
    ["ä".repeat(128), "sluice: password: is longer than 255 bytes; choose a shorter one\n"]
  ])("refuses %j", ([input, complaint]) =>
    Effect.gen(function*() {
      const ended = yield* Cli.run(["hash"], stdin(input))
      assert.deepStrictEqual(ended, { code: 2, stdout: "", stderr: complaint })
    }))
})
