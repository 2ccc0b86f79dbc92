import * as Schema from "effect/Schema"
import { Address, decodeAfter, encodeAfter, maxLength } from "./Address.ts"
import { Byte, type Codec, done, failed, trusted } from "./Codec.ts"
import { ReservedNotZero } from "./ProtocolError.ts"

const name = "UDP header"

/**
 * What stands before the data of each relayed datagram (RFC 1928 §7); the
 * decoded `size` is where the data starts.
 *
 * ```text
 * +----+------+------+----------+----------+----------+
 * |RSV | FRAG | ATYP | DST.ADDR | DST.PORT |   DATA   |
 * +----+------+------+----------+----------+----------+
 * | 2  |  1   |  1   | Variable |    2     | Variable |
 * +----+------+------+----------+----------+----------+
 * ```
 *
 * Any FRAG parses: 0 means that the datagram stands alone.
 */
export class UdpHeader extends Schema.Class<UdpHeader>("UdpHeader")({
  fragment: Byte,
  address: Address
}) {}

export const codec: Codec<UdpHeader> = {
  name,
  maxLength: 3 + maxLength,
  decode: (bytes) => {
    // What has not arrived reads 0, and is not used before the address behind it is there.
    const [first = 0, second = 0, fragment = 0] = bytes
    const reserved = first === 0 ? second : first
    if (reserved !== 0) return failed(name, new ReservedNotZero({ actual: reserved }))
    const address = decodeAfter(name, bytes, 3)
    if (address._tag !== "Done") return address
    return done(trusted(UdpHeader, { fragment, address: address.value }), address.size)
  },
  encode: ({ address, fragment }) => encodeAfter([0, 0, fragment], address)
}
