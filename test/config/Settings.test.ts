import { assert, describe, it } from "@effect/vitest"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as IpNetwork from "effect/net/IpNetwork"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Schema from "effect/Schema"
import { availableParallelism, networkInterfaces } from "node:os"
import * as ProxyUrl from "../../src/client/ProxyUrl.ts"
import * as Settings from "../../src/config/Settings.ts"
import { protocols } from "../../src/server/Dialect.ts"
import * as Egress from "../../src/transport/Egress.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"

const redactedUsers = (...users: ReadonlyArray<string>) => ({ user: users.map((user) => Redacted.make(user)) })

const rejects = (texts: Readonly<Record<string, unknown>>, key: string, message: string) =>
  Effect.gen(function*() {
    const error = yield* Effect.flip(Settings.decode(texts))
    assert.deepStrictEqual([error.key, error.message], [key, message])
  })

describe("Settings", () => {
  it.effect("has the documented defaults", () =>
    Effect.gen(function*() {
      const {
        bindTimeout,
        connectTimeout,
        drainTimeout,
        halfCloseTimeout,
        handshakeTimeout,
        idleTimeout,
        listen,
        ...others
      } = yield* Settings.decode({})
      assert.deepStrictEqual(listen.map(ListenAddress.format), ["127.0.0.1:1080"])
      assert.deepStrictEqual(
        [bindTimeout, handshakeTimeout, connectTimeout, idleTimeout, halfCloseTimeout, drainTimeout].map(
          Duration.toMillis
        ),
        [60_000, 10_000, 10_000, 3_600_000, 60_000, 30_000]
      )
      assert.deepStrictEqual(others, {
        protocols,
        proxyProtocol: [],
        user: [],
        openProxy: false,
        allowPrivate: false,
        allow: [],
        dns: [],
        upstream: [],
        egress: [],
        egressBy: "rotate",
        udpFragments: false,
        workers: 1,
        logLevel: "Info"
      })
    }))

  it("names every setting once, and documents it", () => {
    assert.deepStrictEqual(Settings.all.map(({ flag }) => flag), [
      "config",
      "listen",
      "protocols",
      "proxy-protocol",
      "user",
      "users",
      "open-proxy",
      "allow-private",
      "allow",
      "dns",
      "udp-advertise",
      "udp-ports",
      "udp-fragments",
      "bind-ports",
      "bind-timeout",
      "upstream",
      "egress",
      "egress-by",
      "handshake-timeout",
      "connect-timeout",
      "idle-timeout",
      "half-close-timeout",
      "drain-timeout",
      "workers",
      "max-connections",
      "log-format",
      "log-level"
    ])
    for (const { description, flag, kind, metavar, variable } of Settings.all) {
      assert.strictEqual(variable, `SLUICE_${flag.toUpperCase().replaceAll("-", "_")}`)
      assert.isAbove(description.length, 0, flag)
      assert.strictEqual(metavar === undefined, kind === "switch", flag)
    }
  })

  describe("listen", () => {
    it.effect.each([
      ["127.0.0.1:1080", "127.0.0.1:1080"],
      ["127.0.0.1:0", "127.0.0.1:0"],
      ["localhost:8080", "127.0.0.1:8080"],
      ["LOCALHOST:65535", "127.0.0.1:65535"],
      ["[::1]:1080", "[::1]:1080"],
      ["[::]:1080", "[::]:1080"],
      ["[2001:DB8:0::1]:1", "[2001:db8::1]:1"]
    ])("takes %s", ([text, address]) =>
      Effect.gen(function*() {
        const { listen } = yield* Settings.decode({ listen: [text] })
        assert.deepStrictEqual(listen.map(ListenAddress.format), [address])
      }))

    it.effect.each([
      "1080",
      ":1080",
      "127.0.0.1",
      "127.0.0.1:",
      "::1:1080",
      "example.com:1080",
      "127.0.0.1:65536",
      "127.0.0.1:-1",
      "[127.0.0.1]:1080",
      "socks5://127.0.0.1:1080",
      " 127.0.0.1:1080"
    ])("refuses %s", (text) =>
      rejects(
        { listen: ["127.0.0.1:1", text] },
        "listen",
        `"${text}" is not HOST:PORT with an IP address or localhost, such as 127.0.0.1:1080 or [::1]:1080`
      ))

    it.effect("keeps all of several", () =>
      Effect.gen(function*() {
        const { listen } = yield* Settings.decode({ listen: ["127.0.0.1:1", "[::1]:2"] })
        assert.deepStrictEqual(listen.map(ListenAddress.format), ["127.0.0.1:1", "[::1]:2"])
      }))
  })

  describe("durations", () => {
    it.effect.each([
      ["0", 0],
      ["0s", 0],
      ["10", 10_000],
      ["0.5", 500],
      ["500ms", 500],
      ["10s", 10_000],
      ["1.5s", 1500],
      ["1m", 60_000],
      ["1h", 3_600_000],
      ["1h30m", 5_400_000],
      ["1h 30m", 5_400_000],
      ["2d", 172_800_000],
      ["365d", 31_536_000_000]
    ])("takes %s", ([text, millis]) =>
      Effect.gen(function*() {
        const { idleTimeout } = yield* Settings.decode({ idleTimeout: text })
        assert.strictEqual(Duration.toMillis(idleTimeout), millis)
      }))

    it.effect.each(["10x", "s", "-1s", "1h30", "ten", "1h-30m", "1e3", "10 seconds", "Infinity", "1s "])(
      "refuses %s",
      (text) =>
        rejects({ idleTimeout: text }, "idleTimeout", `"${text}" is not a duration, such as 500ms, 10s, 1h30m or 0`)
    )

    it.effect("are never empty, endless, or nothing where a limit must be", () =>
      Effect.gen(function*() {
        yield* rejects({ idleTimeout: "" }, "idleTimeout", "is empty; give a duration, such as 500ms, 10s, 1h30m or 0")
        yield* rejects({ idleTimeout: "366d" }, "idleTimeout", "\"366d\" is too long; give 365d or less")
        yield* rejects({ handshakeTimeout: "0" }, "handshakeTimeout", "\"0\" is no time at all; give 1ms or more")
        yield* rejects({ connectTimeout: "0ms" }, "connectTimeout", "\"0ms\" is no time at all; give 1ms or more")
      }))
  })

  describe("users", () => {
    it.effect("are split at the first colon, and redacted", () =>
      Effect.gen(function*() {
        const settings = yield* Settings.decode(redactedUsers("alice:a:b", "bob:x"))
        assert.deepStrictEqual(settings.user.map(({ name }) => name), ["alice", "bob"])
        assert.deepStrictEqual(settings.user.map(({ password }) => Redacted.value(password)), ["a:b", "x"])
      }))

    it.effect.each<readonly [text: string, message: string]>([
      ["S3cr3t-canary", "no colon after the user name; write NAME:PASSWORD"],
      [":S3cr3t-canary", "user name is empty; write NAME:PASSWORD"],
      ["alice:", "password of \"alice\" is empty; write NAME:PASSWORD"],
      [`alice:${"S3cr3t-canary".repeat(20)}`, "password of \"alice\" is longer than 255 bytes; choose a shorter one"]
    ])("refuses %#, without the password", ([text, message]) => rejects(redactedUsers(text), "user", message))

    it.effect("never show their passwords in a dump, nor can they be encoded", () =>
      Effect.gen(function*() {
        const settings = yield* Settings.decode(redactedUsers("alice:S3cr3t-canary"))
        assert.notInclude(JSON.stringify(settings), "S3cr3t-canary")
        assert.notInclude(String(settings.user[0]?.password), "S3cr3t-canary")
        const error = yield* Effect.flip(Schema.encodeEffect(Settings.Settings)(settings))
        assert.notInclude(error.message, "S3cr3t-canary")
      }))
  })

  it.effect.each([
    ["10.0.0.0/8", "10.0.0.0/8"],
    ["fd00::/8", "fd00::/8"],
    ["192.168.1.7", "192.168.1.7/32"],
    ["::1", "::1/128"]
  ])("allow takes %s", ([text, network]) =>
    Effect.gen(function*() {
      const { allow } = yield* Settings.decode({ allow: [text] })
      assert.deepStrictEqual(allow.map(IpNetwork.format), [network])
    }))

  it.effect("proxyProtocol takes several networks, and Unix sockets", () =>
    Effect.gen(function*() {
      const { proxyProtocol } = yield* Settings.decode({ proxyProtocol: ["10.0.0.0/24", "fd00::7", "unix"] })
      assert.deepStrictEqual(
        proxyProtocol.map((balancer) => balancer === "unix" ? balancer : IpNetwork.format(balancer)),
        ["10.0.0.0/24", "fd00::7/128", "unix"]
      )
      yield* rejects(
        { proxyProtocol: ["lb"] },
        "proxyProtocol",
        "\"lb\" is not a network, such as 10.0.0.0/8, fd00::/8 or 192.168.1.7"
      )
    }))

  it.effect.each([
    ["9.9.9.9", "9.9.9.9:53"],
    ["127.0.0.1:5353", "127.0.0.1:5353"],
    ["::1", "[::1]:53"],
    ["[::1]:5353", "[::1]:5353"]
  ])("dns takes %s", ([text, server]) =>
    Effect.gen(function*() {
      const { dns } = yield* Settings.decode({ dns: [text] })
      assert.deepStrictEqual(dns.map(NetAddress.formatInet), [server])
    }))

  it.effect.each<readonly [texts: Record<string, unknown>, key: string, message: string]>([
    [
      { allow: ["10.0.0.1/8"] },
      "allow",
      "\"10.0.0.1/8\" is not a network, since bits are set after the prefix; write its first address"
    ],
    [{ allow: ["lan"] }, "allow", "\"lan\" is not a network, such as 10.0.0.0/8, fd00::/8 or 192.168.1.7"],
    [
      { allow: ["10.0.0.0/33"] },
      "allow",
      "\"10.0.0.0/33\" is not a network, such as 10.0.0.0/8, fd00::/8 or 192.168.1.7"
    ],
    [
      { dns: ["dns.example"] },
      "dns",
      "\"dns.example\" is not an IP address, or one with a port, such as 9.9.9.9, 9.9.9.9:53 or [2620:fe::fe]:53"
    ],
    [
      { dns: ["9.9.9.9:0"] },
      "dns",
      "\"9.9.9.9:0\" is not an IP address, or one with a port, such as 9.9.9.9, 9.9.9.9:53 or [2620:fe::fe]:53"
    ],
    [
      { egress: ["eth99"] },
      "egress",
      `"eth99" is not an address, a network or an interface of this machine: 192.0.2.1, 2001:db8::/64, ${
        Object.keys(networkInterfaces()).join(", ")
      }`
    ],
    [
      { egress: ["0.0.0.0"] },
      "egress",
      `"0.0.0.0" is not an address, a network or an interface of this machine: 192.0.2.1, 2001:db8::/64, ${
        Object.keys(networkInterfaces()).join(", ")
      }`
    ],
    [
      { egress: ["192.0.2.1/24"] },
      "egress",
      "\"192.0.2.1/24\" is not a network, since bits are set after the prefix; write its first address"
    ],
    [{ egressBy: "mood" }, "egressBy", "\"mood\" is not one of rotate, user, session"],
    [
      { upstream: [Redacted.make("socks5://ann:S3cr3t@")] },
      "upstream",
      "not the URL of a proxy; give PROTOCOL://HOST:PORT, PROTOCOL being one of socks5, socks5h, socks4, socks4a, " +
      "http, https, with USER:PASSWORD@ before the host if the proxy asks for them"
    ],
    [
      { upstream: ["socks5://a.test", "socks5://ann:S3cr3t@b.test:70000"].map((url) => Redacted.make(url)) },
      "upstream",
      "number 2 of 2: the port is not a number from 1 to 65535"
    ],
    [{ udpAdvertise: "a.test" }, "udpAdvertise", "\"a.test\" is not an IP address, such as 192.0.2.1 or 2001:db8::1"],
    ...["", "0", "0-9", "9-8", "1-65536", "1-2-3", "-5", "a-b"].map((udpPorts) =>
      [
        { udpPorts },
        "udpPorts",
        `${udpPorts === "" ? "is empty; give" : `"${udpPorts}" is not`} a range of ports, FROM-TO, such as 40000-40999`
      ] as const
    ),
    [{ maxConnections: "0" }, "maxConnections", "\"0\" is not a whole number from 1 to 999999999"],
    [{ workers: "0" }, "workers", "\"0\" is not a whole number from 1 to 1024, or auto"],
    [{ workers: "1025" }, "workers", "\"1025\" is not a whole number from 1 to 1024, or auto"],
    [{ workers: "all" }, "workers", "\"all\" is not a whole number from 1 to 1024, or auto"],
    [{ workers: "" }, "workers", "is empty; give a whole number from 1 to 1024, or auto"],
    [{ maxConnections: "1e3" }, "maxConnections", "\"1e3\" is not a whole number from 1 to 999999999"],
    [{ openProxy: "maybe" }, "openProxy", "\"maybe\" is not true or false"],
    [{ users: "" }, "users", "is empty; give the path of a file"],
    [{ logFormat: "xml" }, "logFormat", "\"xml\" is not one of pretty, json, logfmt"],
    [{ logLevel: "Info" }, "logLevel", "\"Info\" is not one of trace, debug, info, warn, error, none"],
    [
      { listen: ["\u001b[2K\r\n"] },
      "listen",
      "\"\\x1b[2K\\r\\n\" is not HOST:PORT with an IP address or localhost, such as 127.0.0.1:1080 or [::1]:1080"
    ]
  ])("refuses %j in one line", ([texts, key, message]) => rejects(texts, key, message))

  it.effect("takes upstreams in their order, and addresses to go out from", () =>
    Effect.gen(function*() {
      const { egress, egressBy, upstream } = yield* Settings.decode({
        upstream: ["socks5h://ann:sesame@a.test", "http://b.test:8080"].map((url) => Redacted.make(url)),
        egress: ["192.0.2.1", "2001:DB8::1", "2001:db8:0:1::/64", "lo"],
        egressBy: "user"
      })
      assert.deepStrictEqual(upstream.map(ProxyUrl.format), ["socks5h://ann@a.test:1080", "http://b.test:8080"])
      assert.deepStrictEqual(egress.map(Egress.format), ["192.0.2.1", "2001:db8::1", "2001:db8:0:1::/64", "lo"])
      assert.strictEqual(egressBy, "user")
    }))

  it.effect("takes the other kinds as people write them", () =>
    Effect.gen(function*() {
      const settings = yield* Settings.decode({
        maxConnections: "12000",
        workers: "1024",
        openProxy: "YES",
        allowPrivate: "0",
        udpAdvertise: "2001:DB8::1",
        udpPorts: "40000-40999",
        udpFragments: "on",
        users: "users.txt",
        logFormat: "json",
        logLevel: "debug"
      })
      assert.strictEqual(settings.maxConnections, 12_000)
      assert.strictEqual(settings.workers, 1024)
      assert.strictEqual((yield* Settings.decode({ workers: "auto" })).workers, availableParallelism())
      assert.isTrue(settings.openProxy)
      assert.isFalse(settings.allowPrivate)
      assert.strictEqual(settings.udpAdvertise && NetAddress.formatIp(settings.udpAdvertise), "2001:db8::1")
      assert.deepStrictEqual(settings.udpPorts, { from: 40_000, to: 40_999 })
      assert.deepStrictEqual((yield* Settings.decode({ udpPorts: "5000" })).udpPorts, { from: 5000, to: 5000 })
      assert.isTrue(settings.udpFragments)
      assert.strictEqual(settings.users, "users.txt")
      assert.strictEqual(settings.logFormat, "json")
      assert.strictEqual(settings.logLevel, "Debug")
    }))
})
