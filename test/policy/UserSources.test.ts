import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as Logger from "effect/Logger"
import * as Redacted from "effect/Redacted"
import * as References from "effect/References"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { mkdtemp, rename, rm, unlink, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as UserSources from "../../src/policy/UserSources.ts"
import type { StoredUser } from "../../src/policy/UserStore.ts"
import * as Egress from "../../src/transport/Egress.ts"
import { within } from "../support/Polling.ts"

const hash = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"
const other = hash.replace("$ZGln", "$AAAA")

const makeFile = Effect.fnUntraced(function*(content: string) {
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => mkdtemp(join(tmpdir(), "sluice-users-"))),
    (path) => Effect.promise(() => rm(path, { recursive: true }))
  )
  const path = join(folder, "users")
  const write = (content: string) => Effect.promise(() => writeFile(path, content))
  yield* write(content)
  const replace = (content: string) =>
    Effect.promise(async () => {
      await writeFile(`${path}.new`, content)
      await rename(`${path}.new`, path)
    })
  return { path, replace, write }
})

/** Log lines, as level, message and annotations. */
const logged = () => {
  const lines: Array<string> = []
  const logger = Logger.make<unknown, void>(({ fiber, logLevel, message }) => {
    const annotations = fiber.getRef(References.CurrentLogAnnotations)
    lines.push(`${logLevel} ${String(message)} ${JSON.stringify(annotations)}`)
  })
  return { lines, layer: Logger.layer([logger]) }
}

const checkEvery = "50 millis"

const listed: StoredUser = { name: "bob", passwords: [{ hash: Redacted.make(hash) }] }
const flag: UserSources.User = { name: "cid", password: Redacted.make("three") }

describe("UserSources", () => {
  it.live("puts users of all kinds together, and the lines of one name", () =>
    Effect.gen(function*() {
      const { path } = yield* makeFile(
        `ann:${hash}:groups=staff\nann:${other}:label=phone expires=2027-01-01 from=192.0.2.0/24\n`
      )
      const users = yield* UserSources.read({ file: path, list: [listed], users: [flag] })
      assert.deepStrictEqual(users.map(({ name }) => name), ["ann", "bob", "cid"])
      const [ann] = users
      assert.deepStrictEqual(ann?.passwords.map(({ expires, hash, label }) => [Redacted.value(hash), label, expires]), [
        [hash, undefined, undefined],
        [other, "phone", Date.UTC(2027, 0, 1)]
      ])
      assert.deepStrictEqual(ann?.groups, ["staff"])
      assert.strictEqual(ann?.from?.length, 1)
      assert.isUndefined(ann?.limits)
    }))

  it.live("lets users of a file go on with what they go out from, until the file says something else of them", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const egress = "egress=127.0.0.2,127.0.0.3 egress-by=user"
      const file = yield* makeFile(`ann:${hash}:${egress}\nann:${other}:label=b\nbob:${hash}:egress=lo\n`)
      const { store } = yield* UserSources.make({ checkEvery, file: file.path })
      const egressOf = (name: string) => Effect.orDie(Effect.map(store.find(name), (user) => user?.egress))
      const anns = yield* egressOf("ann")
      assert.deepStrictEqual(anns?.sources.map(Egress.format), ["127.0.0.2", "127.0.0.3"])
      assert.strictEqual(anns?.by, "user")
      assert.strictEqual((yield* egressOf("bob"))?.by, "rotate")

      yield* file.replace(`ann:${hash}:${egress}\nann:${other}:label=b\nbob:${hash}:egress=127.0.0.4\n`)
      assert.isTrue(yield* within(Effect.sync(() => lines.length === 1), "5 seconds"))
      assert.strictEqual(yield* egressOf("ann"), anns)
      assert.deepStrictEqual((yield* egressOf("bob"))?.sources.map(Egress.format), ["127.0.0.4"])
      assert.deepStrictEqual(lines, [
        `Info users file loaded ${JSON.stringify({ path: file.path, users: 2, changed: 1, removed: 0 })}`
      ])
    }).pipe(Effect.provide(layer))
  })

  it.live("lets a flag's user win over one of the configuration, and neither over one of the file", () =>
    Effect.gen(function*() {
      const users = yield* UserSources.read({ list: [{ ...listed, name: "cid" }], users: [flag] })
      assert.strictEqual(users.length, 1)
      assert.notStrictEqual(Redacted.value(users[0]?.passwords[0]?.hash ?? Redacted.make(hash)), hash)
      const { path } = yield* makeFile(`bob:${hash}\n`)
      const taken = yield* Effect.flip(UserSources.read({ file: path, list: [listed] }))
      assert.strictEqual(taken.message, `${path}:1: name "bob" is taken by the configuration; remove one of them`)
      const { path: another } = yield* makeFile(`\ncid:${hash}\n`)
      const flagged = yield* Effect.flip(UserSources.read({ file: another, users: [flag] }))
      assert.strictEqual(flagged.message, `${another}:2: name "cid" is taken by --user; remove one of them`)
    }))

  it.live("takes a changed file, however it was changed, and announces who was removed", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const file = yield* makeFile(`ann:${hash}\nbob:${hash}\n`)
      const { store } = yield* UserSources.make({ checkEvery, file: file.path })
      const has = (name: string) => Effect.orDie(Effect.map(store.find(name), (user) => user !== undefined))
      const heard = yield* Effect.forkChild(Stream.runCollect(Stream.take(store.changes, 2)), {
        startImmediately: true
      })
      assert.isTrue(yield* has("bob"))

      yield* file.replace(`ann:${hash}\ncid:${hash}\n`)
      assert.isTrue(yield* within(has("cid"), "5 seconds"))
      assert.isFalse(yield* has("bob"))
      yield* file.write(`ann:${other}\ndan:${hash}\n`)
      assert.isTrue(yield* within(has("dan"), "5 seconds"))
      assert.isFalse(yield* has("cid"))

      const [first, second] = yield* Fiber.join(heard)
      assert.deepStrictEqual([[...first?.removed ?? []], [...first?.changed ?? []]], [["bob"], []])
      assert.deepStrictEqual([[...second?.removed ?? []], [...second?.changed ?? []]], [["cid"], ["ann"]])
      assert.deepStrictEqual(lines, [
        `Info users file loaded ${JSON.stringify({ path: file.path, users: 2, changed: 0, removed: 1 })}`,
        `Info users file loaded ${JSON.stringify({ path: file.path, users: 2, changed: 1, removed: 1 })}`
      ])
    }).pipe(Effect.provide(layer))
  })

  it.live("keeps its users over a bad file or none, says so in one line, and takes a good one again", () => {
    const { layer, lines } = logged()
    return Effect.gen(function*() {
      const file = yield* makeFile(`ann:${hash}\n`)
      const { store } = yield* UserSources.make({ checkEvery, file: file.path, list: [listed] })
      const has = (name: string) => Effect.orDie(Effect.map(store.find(name), (user) => user !== undefined))
      const saidIn = (count: number) => within(Effect.sync(() => lines.length >= count), "5 seconds")

      yield* file.replace("eve:S3cr3t-canary\n")
      assert.isTrue(yield* saidIn(1))
      yield* Effect.promise(() => unlink(file.path))
      assert.isTrue(yield* saidIn(2))
      yield* file.replace(`bob:${hash}\n`)
      assert.isTrue(yield* saidIn(3))
      assert.isTrue(yield* has("ann"))
      // Not said again at each look.
      yield* Effect.sleep("300 millis")
      const [password, missing, taken] = [
        `${file.path}:1: password of "eve" is not hashed; run: sluice hash`,
        `${file.path}: no such file; create it with a NAME:HASH on each line, or correct the path`,
        `${file.path}:1: name "bob" is taken by the configuration; remove one of them`
      ].map((reason) => `Error users file not loaded, the users stay as they were ${JSON.stringify({ reason })}`)
      assert.deepStrictEqual(lines, [password, missing, taken])

      yield* file.replace(`dan:${hash}\n`)
      assert.isTrue(yield* within(has("dan"), "5 seconds"))
      assert.isFalse(yield* has("ann"))
      assert.isTrue(yield* has("bob"))
    }).pipe(Effect.provide(layer))
  })

  it.live("looks no longer than its scope is open", () =>
    Effect.gen(function*() {
      const file = yield* makeFile(`ann:${hash}\n`)
      const { store } = yield* Effect.scoped(UserSources.make({ checkEvery, file: file.path }))
      yield* file.replace(`bob:${hash}\n`)
      yield* Effect.sleep("300 millis")
      assert.isUndefined(yield* store.find("bob"))
      assert.isDefined(yield* store.find("ann"))
    }))

  it.effect("tells of each who expires when it happens, and only then", () =>
    Effect.gen(function*() {
      const day = 86_400_000
      const passwords = [{ hash: Redacted.make(hash) }]
      const told: Array<ReadonlyArray<string>> = []
      const { replace, store } = yield* UserSources.make({
        list: [
          { name: "ann", passwords, expires: day },
          { name: "bob", passwords: [...passwords, { hash: Redacted.make(other), expires: 2 * day }] },
          { name: "cid", passwords }
        ]
      })
      yield* Effect.forkScoped(
        Stream.runForEach(store.changes, ({ changed }) => Effect.sync(() => told.push([...changed]))),
        { startImmediately: true }
      )
      yield* TestClock.adjust(day - 1000)
      assert.deepStrictEqual(told, [])
      yield* TestClock.adjust(1500)
      assert.deepStrictEqual(told, [["ann"]])
      yield* TestClock.adjust(day)
      assert.deepStrictEqual(told, [["ann"], ["bob"]])
      yield* replace([{ name: "cid", passwords, expires: 3 * day }])
      told.length = 0
      yield* TestClock.adjust(2 * day)
      assert.deepStrictEqual(told, [["cid"]])
    }))
})
