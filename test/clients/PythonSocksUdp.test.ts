/** python3-socks asks a name server by UDP ASSOCIATE. */
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import * as Cli from "../support/Cli.ts"
import * as DnsServer from "../support/DnsServer.ts"
import * as Program from "../support/Program.ts"

/** Debian's, which has the package `python3-socks`; another one in the PATH need not have it. */
const python = "/usr/bin/python3"

/** Asks for the addresses of a name, as `dig +short` does, and tells from where the answer came. */
const program = `
import socket, socks, struct, sys
proxy, user, password, server, port, name = sys.argv[1:]
client = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
client.settimeout(10)
client.set_proxy(socks.SOCKS5, "127.0.0.1", int(proxy), True, user or None, password or None)
labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
client.sendto(struct.pack("!6H", 4711, 0x100, 1, 0, 0, 0) + labels + b"\\0" + struct.pack("!2H", 1, 1), (server, int(port)))
answer, source = client.recvfrom(65535)
number, flags, _, answers = struct.unpack("!4H", answer[:8])
assert number == 4711 and flags & 0x8000, answer
print(answers, socket.inet_ntoa(answer[-4:]), *source)
client.close()
`

const ask = (
  proxy: number,
  server: NetAddress.InetAddress,
  options: { host?: string; login?: [string, string] } = {}
) =>
  Program.run(python, [
    "-c",
    program,
    String(proxy),
    ...options.login ?? ["", ""],
    options.host ?? NetAddress.formatIp(server.address),
    String(server.port),
    "host.test"
  ])

describe("python3-socks", () => {
  it.live("asks a name server by UDP ASSOCIATE", () =>
    Effect.gen(function*() {
      const dns = yield* DnsServer.make
      dns.set("host.test", { A: DnsServer.records(["192.0.2.53"]) })
      dns.set("dns.test", { A: DnsServer.records(["127.0.0.1"]) })
      const flags = ["--dns", NetAddress.formatInet(dns.address)]
      const answer = { code: 0, stdout: `1 192.0.2.53 127.0.0.1 ${dns.address.port}\n`, stderr: "" }

      const open = yield* Cli.serve({ args: flags })
      assert.deepStrictEqual(yield* ask(open.port, dns.address), answer)
      assert.match(yield* open.takeLine(/connection ended/), / datagrams_up=1 datagrams_down=1 /)
      // The server by its name, which the proxy looks up.
      assert.deepStrictEqual(yield* ask(open.port, dns.address, { host: "dns.test" }), answer)
      assert.match(yield* open.takeLine(/connection ended/), / datagrams_up=1 datagrams_down=1 /)

      const guarded = yield* Cli.serve({ args: [...flags, "--user", "ann:sesame"] })
      assert.deepStrictEqual(yield* ask(guarded.port, dns.address, { login: ["ann", "sesame"] }), answer)
      assert.match(yield* guarded.takeLine(/connection ended/), / user=ann .* datagrams_up=1 datagrams_down=1 /)
      assert.strictEqual(dns.count("host.test", "A"), 3)
    }))
})
