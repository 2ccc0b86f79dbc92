import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Schema from "effect/Schema"
import { inspect } from "node:util"
import * as Expiry from "../../src/policy/Expiry.ts"
import * as UserFields from "../../src/policy/UserFields.ts"
import * as UsersFile from "../../src/policy/UsersFile.ts"
import * as Egress from "../../src/transport/Egress.ts"

const canary = "S3cr3t-canary"
const hash = "$argon2id$v=19$m=64,t=2,p=1$c2FsdHNhbHRzYWx0c2FsdA$ZGlnZXN0ZGlnZXN0ZGlnZXN0ZGlnZXN0"

const entriesOf = (text: string) => Result.getOrThrow(UsersFile.parse("users", text))

const complaint = (text: string) => {
  const result = UsersFile.parse("users", text)
  if (Result.isSuccess(result)) throw new Error("the file was accepted")
  assert.notInclude(inspect(result.failure, { depth: null, showHidden: true }), canary)
  return result.failure
}

describe("Fields of a users file", () => {
  it("stand behind the hash, separated by spaces, in any order", () => {
    const [ann] = entriesOf(
      `ann:${hash}:label=laptop expires=2027-06-30  groups=staff,crawlers from=192.0.2.0/24,2001:db8::/32,198.51.100.7 limits=heavy egress=192.0.2.7,2001:db8:1::/64,lo egress-by=user\n`
    )
    assert.strictEqual(ann?.name, "ann")
    assert.strictEqual(Redacted.value(ann?.hash ?? Redacted.make("")), hash)
    assert.strictEqual(ann?.label, "laptop")
    assert.strictEqual(ann?.expires, Date.UTC(2027, 5, 30))
    assert.deepStrictEqual(ann?.groups, ["staff", "crawlers"])
    assert.deepStrictEqual(ann?.from?.map(IpNetwork.format), ["192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"])
    assert.strictEqual(ann?.limits, "heavy")
    assert.deepStrictEqual(ann?.egress?.map(Egress.format), ["192.0.2.7", "2001:db8:1::/64", "lo"])
    assert.strictEqual(ann?.["egress-by"], "user")
  })

  it("may begin with any of them", () => {
    assert.isTrue(UserFields.looksLike("egress-by=user egress=192.0.2.7"))
    assert.strictEqual(entriesOf(`ann:${hash}:egress-by=user egress=192.0.2.7`)[0]?.["egress-by"], "user")
  })

  it("are no part of a line without them", () => {
    assert.deepStrictEqual(Object.keys(entriesOf(`ann:${hash}`)[0] ?? {}), ["name", "hash", "line"])
  })

  it("tell the passwords of a user apart, and are the user's but for label and expires", () => {
    const entries = entriesOf(
      [`ann:${hash}:groups=staff`, `bob:${hash}`, `ann:${hash}:label=phone expires=2027-01-01T12:30:00+02:00`].join(
        "\n"
      )
    )
    assert.deepStrictEqual(entries.map(({ label, line, name }) => [name, label, line]), [
      ["ann", undefined, 1],
      ["bob", undefined, 2],
      ["ann", "phone", 3]
    ])
    assert.strictEqual(entries[2]?.expires, Date.UTC(2027, 0, 1, 10, 30))
  })

  it.each<readonly [text: string, message: string, field: UsersFile.UsersFileError["field"]]>([
    [
      `ann:${hash}:group=${canary}`,
      "users:1: field 1 after the hash is none that is known, for \"ann\"; write label=, expires=, groups=, from=, limits=, egress=, egress-by=",
      "fields"
    ],
    [
      `ann:${hash}:label=a ${canary}`,
      "users:1: field 2 after the hash is none that is known, for \"ann\"; write label=, expires=, groups=, from=, limits=, egress=, egress-by=",
      "fields"
    ],
    [
      `ann:${hash}:label=a label=b`,
      "users:1: label= is given twice, for \"ann\"; remove one of them",
      "label"
    ],
    [
      `ann:${hash}:label=`,
      "users:1: label=: \"\" is not a label, for \"ann\"; write letters, digits and any of _.@-",
      "label"
    ],
    [
      `\nann:${hash}:groups=staff,`,
      "users:2: groups=: \"\" is not a group, for \"ann\"; write letters, digits and any of _.@-",
      "groups"
    ],
    [
      `ann:${hash}:limits=a:b`,
      "users:1: limits=: \"a:b\" is not a limit class, for \"ann\"; write letters, digits and any of _.@-",
      "limits"
    ],
    [
      `ann:${hash}:expires=soon`,
      "users:1: expires=: \"soon\" is not a date, for \"ann\"; write 2027-06-30 or 2027-06-30T12:00:00Z",
      "expires"
    ],
    [
      `ann:${hash}:expires=2027-02-31`,
      "users:1: expires=: \"2027-02-31\" is not a date, for \"ann\"; write 2027-06-30 or 2027-06-30T12:00:00Z",
      "expires"
    ],
    [
      `ann:${hash}:from=192.0.2.1/24`,
      "users:1: from=: \"192.0.2.1/24\" is not a network, for \"ann\"; write an address, or 192.0.2.0/24",
      "from"
    ],
    [
      `ann:${hash}:egress=192.0.2.7,eth99`,
      "users:1: egress=: \"eth99\" is not an address, a network or an interface of this machine, for \"ann\"; " +
      `write one: ${Egress.examples()}`,
      "egress"
    ],
    [
      `ann:${hash}:egress=0.0.0.0`,
      "users:1: egress=: \"0.0.0.0\" is not an address, a network or an interface of this machine, for \"ann\"; " +
      `write one: ${Egress.examples()}`,
      "egress"
    ],
    [
      `ann:${hash}:egress=192.0.2.1/24`,
      "users:1: egress=: \"192.0.2.1/24\" is not a network, for \"ann\"; write an address, or 192.0.2.0/24",
      "egress"
    ],
    [
      `ann:${hash}:egress=192.0.2.1 egress-by=name`,
      "users:1: egress-by=: \"name\" is not one of rotate, user, session, for \"ann\"; write one of these",
      "egress-by"
    ],
    [
      `ann:${hash}:egress-by=user`,
      "users:1: egress-by= says which of several, and there is no egress=, for \"ann\"; " +
      "add egress= with what to go out from",
      "egress-by"
    ],
    [
      `ann:${hash}:egress=192.0.2.1\nann:${hash}:label=b egress=192.0.2.2`,
      "users:2: egress= of \"ann\" stands on line 1 already; remove one of them",
      "egress"
    ],
    [
      `ann:${hash}:label=a\n#\nann:${hash}:label=a`,
      "users:3: label \"a\" of \"ann\" is taken by line 1; choose another one",
      "label"
    ],
    [
      `ann:${hash}:groups=a\nann:${hash}:label=b\nann:${hash}:label=c groups=a`,
      "users:3: groups= of \"ann\" stands on line 1 already; remove one of them",
      "groups"
    ],
    [
      Array.from({ length: 17 }, (_, index) => `ann:${hash}:label=${index}`).join("\n"),
      "users:17: \"ann\" has more than 16 passwords; remove some",
      "name"
    ]
  ])("refuses %j", (text, message, field) => {
    const error = complaint(text)
    assert.strictEqual(error.message, message)
    assert.strictEqual(error.field, field)
  })

  const word = Schema.String.check(Schema.isPattern(/^[a-z0-9_.@-]{1,12}$/))
  const network = Schema.Tuple([
    Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 255 })),
    Schema.Int.check(Schema.isBetween({ minimum: 8, maximum: 32 }))
  ])

  it.effect.prop(
    "come back as they were written",
    [
      word,
      Schema.Int.check(Schema.isBetween({ minimum: 0, maximum: 4_000_000_000 })),
      Schema.Array(word).check(Schema.isBetweenLength(1, 4)),
      Schema.Array(network).check(Schema.isBetweenLength(1, 3)),
      word,
      Schema.Literals(Egress.choices)
    ],
    ([label, seconds, groups, networks, limits, by]) =>
      Effect.sync(() => {
        const from = networks.map(([octet, prefix]) => IpNetwork.fromStringUnsafe(`${octet}.0.0.0/${prefix}`))
        const fields: UserFields.UserFields = {
          label,
          expires: seconds * 1_000,
          groups,
          from,
          limits,
          egress: [...from, NetAddress.ipFromStringUnsafe("2001:db8::1")],
          "egress-by": by
        }
        const text = UserFields.format(fields)
        const parsed = Result.getOrThrow(UserFields.parse(text))
        assert.strictEqual(UserFields.format(parsed), text)
        const { egress, from: networksAgain, ...rest } = parsed
        assert.deepStrictEqual(rest, { label, expires: seconds * 1_000, groups, limits, "egress-by": by })
        assert.deepStrictEqual(networksAgain?.map(IpNetwork.format), from.map(IpNetwork.format))
        assert.deepStrictEqual(egress?.map(Egress.format), fields.egress?.map(Egress.format))
      })
  )
})

describe("Expiry", () => {
  it.each([
    ["2027-06-30", "2027-06-30"],
    ["2027-06-30T00:00Z", "2027-06-30"],
    ["2027-06-30T12:00:00Z", "2027-06-30T12:00:00Z"],
    ["2027-06-30T12:00:00+02:00", "2027-06-30T10:00:00Z"],
    ["2028-02-29", "2028-02-29"]
  ])("reads %s and writes %s", (text, written) => {
    assert.strictEqual(Expiry.format(Result.getOrThrow(Expiry.fromString(text))), written)
  })

  it.each(["", "2027", "2027-13-01", "2027-02-29", "30.06.2027", "2027-06-30T12:00:00", "2027-06-30 12:00", "never"])(
    "refuses %j",
    (text) => {
      assert.deepStrictEqual(
        Expiry.fromString(text),
        Result.fail("not a date; write 2027-06-30 or 2027-06-30T12:00:00Z")
      )
    }
  )
})
