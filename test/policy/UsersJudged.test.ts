/** What a login is judged by besides the password, and what comes of it. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Option from "effect/Option"
import * as Redacted from "effect/Redacted"
import * as Stream from "effect/Stream"
import * as TestClock from "effect/testing/TestClock"
import { AuthenticationFailed, Authenticator } from "../../src/policy/Authenticator.ts"
import * as PasswordHash from "../../src/policy/PasswordHash.ts"
import * as Users from "../../src/policy/Users.ts"
import * as UserStore from "../../src/policy/UserStore.ts"
import * as Egress from "../../src/transport/Egress.ts"

const day = 86_400_000

const from = (address: string) => NetAddress.inetAddressFromIpStringUnsafe(address, 1234)

const login = (
  service: Authenticator["Service"],
  username: string,
  password: string,
  client: NetAddress.InetAddress | undefined = undefined
) => service.authenticate({ username, password: Redacted.make(password), client })

/** A hash that belongs to a password in the eyes of {@link verifier}. */
const hashOf = (password: string) => Redacted.make(`hash of ${password}`)

const user = (name: string, password: string, rest: Partial<UserStore.StoredUser> = {}): UserStore.StoredUser => ({
  name,
  passwords: [{ hash: hashOf(password) }],
  ...rest
})

/** Counts the hashes that are verified. */
const verifier = () => {
  const verified: Array<string> = []
  const verify: typeof PasswordHash.verify = (encoded, password) =>
    Effect.sync(() => {
      verified.push(encoded)
      return encoded === `hash of ${Redacted.value(password)}`
    })
  return { verified, verify }
}

const makeService = Effect.fnUntraced(function*(
  users: ReadonlyArray<UserStore.StoredUser>,
  options?: Users.LoginOptions
) {
  const { verified, verify } = verifier()
  const memory = yield* UserStore.memory(users)
  return { memory, service: Users.fromStore(memory.store, options, { verify }), verified }
})

/** As a flag gives it. */
const flagged = (password: string) => [{ name: "ann", password: Redacted.make(password) }]

describe("A user", () => {
  it.effect("is known with groups, egress and limits", () =>
    Effect.gen(function*() {
      const egress = Egress.make([NetAddress.ipFromStringUnsafe("192.0.2.7")])
      const { service } = yield* makeService([
        user("ann", "one", { groups: ["staff", "crawlers"], egress, limits: "heavy" }),
        user("bob", "two")
      ])
      assert.deepStrictEqual(yield* login(service, "ann", "one"), {
        name: "ann",
        password: hashOf("one"),
        groups: ["staff", "crawlers"],
        egress,
        limits: "heavy"
      })
      assert.deepStrictEqual(yield* login(service, "bob", "two"), { name: "bob", password: hashOf("two") })
    }))

  it.effect("who is in stays while the same login would get in", () =>
    Effect.gen(function*() {
      const { memory, service } = yield* makeService([])
      const { recheck } = service
      if (recheck === undefined) return assert.fail("nobody would be judged")
      const there = from("192.0.2.9")
      const phone = { hash: hashOf("two"), label: "phone" }
      const ann: UserStore.StoredUser = { name: "ann", passwords: [{ hash: hashOf("one") }, phone] }
      yield* memory.replace([ann])
      const identity = { ...(yield* login(service, "ann", "two", there)), session: "7f3", pool: "de" }
      const now = (user: UserStore.StoredUser, client: typeof there | undefined = there) =>
        Effect.andThen(memory.replace([user]), recheck(identity, client))
      assert.deepStrictEqual(yield* now({ ...ann, groups: ["staff"] }), { ...identity, groups: ["staff"] })
      assert.isDefined(yield* now({ ...ann, from: [IpNetwork.fromStringUnsafe("192.0.2.0/24")] }))
      assert.isUndefined(yield* now({ ...ann, from: [IpNetwork.fromStringUnsafe("198.51.100.0/24")] }))
      assert.isDefined(yield* now({ ...ann, passwords: [phone] }))
      assert.isUndefined(yield* now({ ...ann, passwords: [{ hash: hashOf("one") }] }))
      assert.isUndefined(yield* now({ ...ann, passwords: [{ ...phone, hash: hashOf("new") }] }))
      const soon = { ...ann, passwords: [{ hash: hashOf("one") }, { ...phone, expires: day }] }
      assert.isDefined(yield* now(soon))
      yield* TestClock.setTime(day)
      assert.isUndefined(yield* now(soon))
      assert.isUndefined(yield* now({ ...ann, expires: day }))
      assert.isDefined(yield* now(ann))
      assert.isUndefined(yield* now({ ...ann, name: "bob" }))
    }))

  it.effect("of a flag stays while the password is the same, whichever way it is kept", () =>
    Effect.gen(function*() {
      const list: ReadonlyArray<UserStore.StoredUser> = [{ name: "bob", passwords: [{ hash: hashOf("x") }] }]
      const others = [[], list]
      for (const before of others) {
        for (const after of others) {
          const { verify } = PasswordHash
          const first = yield* Users.make({ users: flagged("one"), list: before }, { verify })
          const identity = yield* login(first, "ann", "one")
          const recheck = Effect.fnUntraced(function*(password: string) {
            const { recheck } = yield* Users.make({ users: flagged(password), list: after }, { verify })
            return yield* recheck?.(identity, undefined) ?? Effect.succeed(identity)
          })
          assert.strictEqual((yield* recheck("one"))?.name, "ann")
          assert.isUndefined(yield* recheck("two"))
        }
      }
    }))

  it.effect("gets in with each of several passwords until it expires", () =>
    Effect.gen(function*() {
      const { service } = yield* makeService([
        {
          name: "ann",
          passwords: [
            { hash: hashOf("one"), label: "laptop", expires: day },
            { hash: hashOf("two"), label: "phone", expires: 2 * day },
            { hash: hashOf("three") }
          ],
          expires: 3 * day
        }
      ])
      const why = (password: string) =>
        login(service, "ann", password).pipe(
          Effect.match({ onSuccess: () => "in", onFailure: ({ message }) => message })
        )
      const all = Effect.all([why("one"), why("two"), why("three"), why("four")])
      assert.deepStrictEqual(yield* all, ["in", "in", "in", "authentication failed"])
      // Those who got in a moment ago are no exception.
      yield* TestClock.setTime(day)
      assert.deepStrictEqual(yield* all, [
        "authentication failed: the password \"laptop\" expired at 1970-01-02",
        "in",
        "in",
        "authentication failed"
      ])
      yield* TestClock.setTime(3 * day)
      assert.deepStrictEqual(yield* all, [
        "authentication failed: the user expired at 1970-01-04",
        "authentication failed: the user expired at 1970-01-04",
        "authentication failed: the user expired at 1970-01-04",
        "authentication failed"
      ])
    }))

  it.effect("gets in from its networks only, in whichever form the address comes", () =>
    Effect.gen(function*() {
      const networks = ["192.0.2.0/24", "2001:db8::/32"].map(IpNetwork.fromStringUnsafe)
      const { service } = yield* makeService([user("ann", "one", { from: networks })])
      for (const address of ["192.0.2.9", "::ffff:192.0.2.9", "2001:db8::5"]) {
        assert.strictEqual((yield* login(service, "ann", "one", from(address))).name, "ann")
      }
      const elsewhere = yield* Effect.flip(login(service, "ann", "one", from("198.51.100.1")))
      assert.strictEqual(elsewhere.message, "authentication failed: the user may not log in from 198.51.100.1")
      const unknown = yield* Effect.flip(login(service, "ann", "one"))
      assert.strictEqual(
        unknown.message,
        "authentication failed: the user may log in from some networks only, and the client's address is unknown"
      )
      // Who does not know the password learns nothing of it.
      const wrong = yield* Effect.flip(login(service, "ann", "two", from("198.51.100.1")))
      assert.strictEqual(wrong.message, "authentication failed")
    }))

  it.effect("who may not log in costs what a wrong password does, whether it was right a moment ago or not", () =>
    Effect.gen(function*() {
      const { service, verified } = yield* makeService([
        {
          name: "ann",
          passwords: [{ hash: hashOf("one") }, { hash: hashOf("two") }, { hash: hashOf("three") }],
          expires: day
        }
      ])
      const cost = (password: string) => {
        verified.length = 0
        return Effect.map(Effect.exit(login(service, "ann", password)), () => verified.length)
      }
      assert.strictEqual(yield* cost("two"), 2)
      assert.strictEqual(yield* cost("two"), 0)
      assert.strictEqual(yield* cost("wrong"), 3)
      yield* TestClock.setTime(day)
      for (const password of ["one", "two", "three", "wrong", "two", "one"]) {
        // The last of them may be remembered from before its time was over.
        assert.strictEqual(yield* cost(password), 3, password)
      }
    }))

  it.effect("is verified once a minute, and anew when the password is another one", () =>
    Effect.gen(function*() {
      const { memory, service, verified } = yield* makeService([user("ann", "one"), user("bob", "two")])
      yield* login(service, "ann", "one")
      yield* login(service, "ann", "one")
      assert.strictEqual(verified.length, 1)
      yield* memory.replace([user("ann", "new"), user("bob", "two")])
      assert.strictEqual((yield* Effect.flip(login(service, "ann", "one"))).message, "authentication failed")
      assert.strictEqual((yield* login(service, "ann", "new")).name, "ann")
      yield* memory.replace([user("bob", "two")])
      yield* Effect.flip(login(service, "ann", "new"))
      assert.strictEqual(verified.at(-1), "hash of two")
      yield* memory.replace([user("ann", "new", { groups: ["staff"] })])
      assert.deepStrictEqual((yield* login(service, "ann", "new")).groups, ["staff"])
    }))

  it.effect("is not found where nobody can say who the users are, which is nobody's fault", () =>
    Effect.gen(function*() {
      const broken = Effect.fail(new UserStore.UserStoreError({ problem: "the users can't be looked up" }))
      const service = Users.fromStore({ find: () => broken, decoy: () => broken, changes: Stream.empty })
      const error = yield* Effect.flip(login(service, "ann", "one"))
      assert.strictEqual(error.message, "authentication failed: the users can't be looked up")
      assert.isTrue(error.blameless)
    }))

  it.effect("is told nothing where too many log in at once", () =>
    Effect.gen(function*() {
      const { store } = yield* UserStore.memory([user("ann", "one")])
      const service = Users.fromStore(store, {}, { verify: () => Effect.fail(new PasswordHash.TooManyLogins()) })
      for (const name of ["ann", "eve"]) {
        const error = yield* Effect.flip(login(service, name, "one"))
        assert.strictEqual(error.message, "authentication failed: too many logins at once")
        assert.isTrue(error.blameless)
      }
    }))
})

/** Knows eve, and notes who was asked about. */
const others = () => {
  const asked: Array<string> = []
  const service = Authenticator.of({
    required: true,
    authenticate: ({ username }) => {
      asked.push(username)
      return username === "eve"
        ? Effect.succeed({ name: "eve" })
        : Effect.fail(new AuthenticationFailed({ username }))
    }
  })
  return { asked, service }
}

describe("Names that are no user's", () => {
  it.effect("are others' to judge, where there are others, and users are not", () =>
    Effect.gen(function*() {
      const { asked, service: otherwise } = others()
      const { service } = yield* makeService([user("ann", "one")], { otherwise })
      assert.strictEqual((yield* login(service, "eve", "any")).name, "eve")
      yield* Effect.flip(login(service, "mallory", "any"))
      yield* Effect.flip(login(service, "ann", "any"))
      assert.deepStrictEqual(asked, ["eve", "mallory"])
    }))

  it.effect("are not those of users who were removed", () =>
    Effect.gen(function*() {
      const { service: otherwise } = others()
      const { memory, service } = yield* makeService([user("ann", "one")], { otherwise })
      const [ann, eve] = [yield* login(service, "ann", "one"), yield* login(service, "eve", "any")]
      yield* memory.replace([])
      const plain = yield* Users.make({ users: [{ name: "bob", password: Redacted.make("two") }], otherwise })
      for (const { recheck } of [service, plain]) {
        if (recheck === undefined) return assert.fail("nobody would be judged")
        assert.isUndefined(yield* recheck(ann, undefined))
        assert.strictEqual((yield* recheck(eve, undefined))?.name, "eve")
      }
    }))

  it.effect("are so too beside users with plain passwords", () =>
    Effect.gen(function*() {
      const { asked, service: otherwise } = others()
      const service = yield* Users.make({
        users: [{ name: "ann", password: Redacted.make("one") }],
        otherwise
      })
      assert.strictEqual((yield* login(service, "eve", "any")).name, "eve")
      yield* Effect.flip(login(service, "ann", "any"))
      assert.strictEqual((yield* login(service, "ann", "one")).name, "ann")
      assert.deepStrictEqual(asked, ["eve"])
    }))
})

describe("UserStore in memory", () => {
  it.effect("says who was removed and who changed, and only that", () =>
    Effect.gen(function*() {
      const memory = yield* UserStore.memory([user("ann", "one"), user("bob", "two"), user("cid", "three")])
      const change = yield* memory.replace([
        user("ann", "one"),
        user("cid", "three", { limits: "heavy" }),
        user("dan", "four")
      ])
      assert.deepStrictEqual([...change.removed], ["bob"])
      assert.deepStrictEqual([...change.changed], ["cid"])
      assert.strictEqual(yield* memory.size, 3)
      assert.isUndefined(yield* memory.store.find("bob"))
      assert.strictEqual((yield* memory.store.find("dan"))?.name, "dan")
    }))

  it.effect("announces changes to those who listen", () =>
    Effect.gen(function*() {
      const memory = yield* UserStore.memory([user("ann", "one"), user("bob", "two")])
      const heard = yield* Effect.forkChild(Stream.runHead(memory.store.changes), { startImmediately: true })
      yield* Effect.yieldNow
      // The same users in other objects are no change.
      yield* memory.replace([user("ann", "one"), user("bob", "two")])
      yield* memory.replace([user("bob", "two")])
      const change = Option.getOrThrow(yield* Fiber.join(heard))
      assert.deepStrictEqual([...change.removed], ["ann"])
      assert.deepStrictEqual([...change.changed], [])
    }))
})
