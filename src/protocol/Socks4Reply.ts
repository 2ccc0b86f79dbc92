import * as NetAddress from "effect/net/NetAddress"
import * as Schema from "effect/Schema"
import { Address } from "./Address.ts"
import { Byte, checkVersion, type Codec, done, more, trusted } from "./Codec.ts"

const name = "SOCKS4 reply"

/** VN in a reply: not 4. */
const version = 0x00

/** The values of CD. The last two are about asking identd, which no server does any more. */
export const granted = 90
export const refused = 91
export const noIdentd = 92
export const otherUser = 93

/**
 * The server's answer to the request ("SOCKS: A protocol for TCP proxy across firewalls"). BIND is answered twice, first
 * with the address that the peer is to connect to; an address of 0.0.0.0 stands for the one that the client has connected
 * to.
 *
 * ```text
 * +----+----+---------+-------+
 * | VN | CD | DSTPORT | DSTIP |
 * +----+----+---------+-------+
 * | 1  | 1  |    2    |   4   |
 * +----+----+---------+-------+
 * ```
 */
export class Socks4Reply extends Schema.Class<Socks4Reply>("Socks4Reply")({
  code: Byte,
  address: Address.cases.Ipv4
}) {}

const length = 8

export const codec: Codec<Socks4Reply> = {
  name,
  maxLength: length,
  decode: (bytes) => {
    const mismatch = checkVersion(name, version, bytes[0])
    if (mismatch !== undefined) return mismatch
    if (bytes.length < length) return more(length - bytes.length)
    const [, code = 0, high = 0, low = 0] = bytes
    const ip = NetAddress.ipv4FromBytesUnsafe(bytes.subarray(4, length))
    return done(trusted(Socks4Reply, { code, address: { _tag: "Ipv4", ip, port: high << 8 | low } }), length)
  },
  encode: ({ address, code }) =>
    Uint8Array.from([version, code, address.port >> 8, address.port & 0xff, ...NetAddress.ipv4ToOctets(address.ip)])
}
