import { assert, describe, it } from "@effect/vitest"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as ListenFailure from "../../src/cli/ListenFailure.ts"
import * as Interfaces from "../../src/transport/Interfaces.ts"
import * as ListenAddress from "../../src/transport/ListenAddress.ts"
import { ListenError } from "../../src/transport/Transport.ts"

const tcp = NetAddress.inetAddressFromStringUnsafe
const tls = (address: string, clientCa?: string) =>
  ListenAddress.tls({ address: tcp(address), cert: "c", key: "k", ...clientCa !== undefined && { clientCa } })

const everywhere = "0.0.0.0:1080"
const help = "would be an open proxy; add --user NAME:PASSWORD or --users FILE, or say --open-proxy if it is meant"

const openProxy = (listen: ListenAddress.ListenAddress, given: { hasUsers?: boolean; meant?: boolean } = {}) =>
  ListenFailure.openProxy({ listen: [listen], hasUsers: false, meant: false, source: "--listen", ...given })?.message

describe("a proxy for everybody", () => {
  it.each<readonly [string, ListenAddress.ListenAddress]>([
    [everywhere, tcp(everywhere)],
    [`tls://${everywhere}`, tls(everywhere)],
    ["[::]:1", tcp("[::]:1")],
    [everywhere, ListenAddress.descriptor(3, tcp(everywhere))]
  ])("is refused on %s", (text, listen) => {
    assert.strictEqual(openProxy(listen), `--listen: ${text} ${help}`)
    assert.isUndefined(openProxy(listen, { hasUsers: true }))
    assert.isUndefined(openProxy(listen, { meant: true }))
  })

  it.each<ListenAddress.ListenAddress>([
    tcp("127.0.0.1:1"),
    tcp("[::ffff:127.0.0.1]:1"),
    tls("[::1]:1"),
    tls(everywhere, "ca"),
    ListenAddress.unix("/a"),
    ListenAddress.descriptor(3, ListenAddress.unix("/a")),
    ListenAddress.descriptor(3, tcp("127.0.0.1:1"))
  ])("is not what listens where one has to be local, or to show a certificate", (listen) => {
    assert.isUndefined(openProxy(listen))
  })
})

describe("an address that is given twice", () => {
  it.each<readonly [string | undefined, ReadonlyArray<ListenAddress.ListenAddress>]>([
    ["127.0.0.1:1", [tcp("127.0.0.1:1"), tls("127.0.0.1:1")]],
    ["unix:/a", [ListenAddress.unix("/a"), tcp("127.0.0.1:1"), ListenAddress.unix("/a")]],
    [undefined, [tls("127.0.0.1:0"), tls("127.0.0.1:0"), tls("127.0.0.1:1"), tcp("127.0.0.2:1")]]
  ])("is %s", (text, listen) => {
    const complaint = text === undefined ? undefined : `--listen: ${text} is given twice; give it once`
    assert.strictEqual(ListenFailure.collision(listen, "--listen")?.message, complaint)
  })
})

describe("an address that takes in another one", () => {
  it.each<readonly [outer: string, inner: string, ReadonlyArray<ListenAddress.ListenAddress>]>([
    ["0.0.0.0:1", "127.0.0.1:1", [tcp("127.0.0.1:1"), tcp("0.0.0.0:1")]],
    ["0.0.0.0:1", "127.0.0.1:1", [tls("0.0.0.0:1"), tcp("[::ffff:127.0.0.1]:1")]],
    ["[::]:1", "127.0.0.1:1", [tcp("[::]:1"), tls("127.0.0.1:1")]],
    ["[::]:1", "[::1]:1", [ListenAddress.unix("/a"), tcp("0.0.0.0:1"), tcp("[::]:1"), tcp("[::1]:1")]]
  ])("is refused: %s and %s", (outer, inner, listen) => {
    const complaint = `--listen: ${outer} takes in ${inner} too; leave one of them out`
    assert.strictEqual(ListenFailure.collision(listen, "--listen")?.message, complaint)
  })

  it.each<ReadonlyArray<ListenAddress.ListenAddress>>([
    [tcp("0.0.0.0:1"), tcp("[::]:1")],
    [tcp("0.0.0.0:1"), tcp("[::1]:1")],
    [tcp("0.0.0.0:1"), tcp("127.0.0.1:2")],
    [tcp("0.0.0.0:0"), tcp("127.0.0.1:0")]
  ])("is none where both have room: %o, %o", (...listen) => {
    assert.isUndefined(ListenFailure.collision(listen, "--listen"))
  })
})

const loop = (upstream: string, ...listen: ReadonlyArray<ListenAddress.ListenAddress>) =>
  ListenFailure.loop(listen, [
    { address: Host.hostPortFromStringUnsafe("192.0.2.1:1080"), source: "first" },
    { address: Host.hostPortFromStringUnsafe(upstream), source: "--upstream" }
  ])?.message

describe("an upstream that is the proxy itself", () => {
  const own = Interfaces.addresses().map(NetAddress.formatIp).find((ip) => ip.includes(".") && ip !== "127.0.0.1")

  it.each<readonly [upstream: string, ListenAddress.ListenAddress]>([
    ["127.0.0.1:1080", tcp("127.0.0.1:1080")],
    ["127.0.0.1:1080", tls("127.0.0.1:1080")],
    ["[::ffff:127.0.0.1]:1080", tcp("127.0.0.1:1080")],
    ["127.0.0.1:1080", tcp("[::ffff:127.0.0.1]:1080")],
    ["[::1]:1080", ListenAddress.descriptor(3, tcp("[::1]:1080"))],
    ["localhost:1080", tcp("127.0.0.1:1080")],
    ["localhost:1080", tcp("[::1]:1080")],
    ["127.0.0.7:1080", tcp("0.0.0.0:1080")],
    ["0.0.0.0:1080", tcp("0.0.0.0:1080")],
    ["127.0.0.1:1080", tcp("[::]:1080")],
    ...own === undefined ? [] : [[`${own}:1080`, tcp("0.0.0.0:1080")] as const]
  ])("is refused: %s", (upstream, listen) => {
    assert.strictEqual(
      loop(upstream, tcp("192.0.2.7:1"), listen),
      `--upstream: ${upstream} is where this proxy itself listens; give another one`
    )
  })

  it.each<readonly [upstream: string, ListenAddress.ListenAddress]>([
    ["127.0.0.1:1081", tcp("127.0.0.1:1080")],
    ["127.0.0.2:1080", tcp("127.0.0.1:1080")],
    ["[::1]:1080", tcp("0.0.0.0:1080")],
    ["192.0.2.77:1080", tcp("[::]:1080")],
    ["proxy.test:1080", tcp("[::]:1080")],
    ["127.0.0.1:1080", tcp("127.0.0.1:0")],
    ["127.0.0.1:1080", ListenAddress.unix("/a")]
  ])("is not %s", (upstream, listen) => {
    assert.isUndefined(loop(upstream, listen))
  })
})

describe("what the system refuses", () => {
  it.each<readonly [ListenAddress.ListenAddress, code: string, complaint: string]>([
    [tls("127.0.0.1:1080"), "EADDRINUSE", "tls://127.0.0.1:1080 is in use; stop what holds it or choose another port"],
    [
      tls("127.0.0.1:443"),
      "EACCES",
      "tls://127.0.0.1:443 needs the privilege for ports below 1024; choose a higher port or grant CAP_NET_BIND_SERVICE"
    ],
    [ListenAddress.unix("/a"), "EADDRINUSE", "unix:/a is in use; stop what holds it or choose another path"],
    [ListenAddress.unix("/a"), "ENOTSOCK", "unix:/a is another kind of file; remove it or choose another path"],
    [
      ListenAddress.unix("/a"),
      "EACCES",
      "unix:/a can't be listened on (EACCES); choose a path in a directory that exists and may be written to"
    ]
  ])("is told in a line", (address, code, complaint) => {
    const error = ListenFailure.refused(new ListenError({ address, code }), "--listen")
    assert.deepStrictEqual([error.exitCode, error.message], [1, `--listen: ${complaint}`])
  })
})
