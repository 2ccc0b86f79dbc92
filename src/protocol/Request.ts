import * as Schema from "effect/Schema"
import { Address, decodeAfter, encodeAfter, maxLength } from "./Address.ts"
import { Byte, checkVersion, type Codec, done, failed, trusted } from "./Codec.ts"
import { ProtocolError, ReservedNotZero, UnknownCommand } from "./ProtocolError.ts"
import { version } from "./Version.ts"

const name = "request"

/** The commands of RFC 1928 §4. */
export const connect = 0x01
export const bind = 0x02
export const udpAssociate = 0x03

/** Those of Tor (socks-extensions.txt): a name's address, and an address's name. */
export const resolve = 0xf0
export const resolvePtr = 0xf1

/**
 * What the client wants (RFC 1928 §4).
 *
 * ```text
 * +----+-----+-------+------+----------+----------+
 * |VER | CMD |  RSV  | ATYP | DST.ADDR | DST.PORT |
 * +----+-----+-------+------+----------+----------+
 * | 1  |  1  | X'00' |  1   | Variable |    2     |
 * +----+-----+-------+------+----------+----------+
 * ```
 *
 * Any command parses: the server has to read the whole request to answer 07.
 */
export class Request extends Schema.Class<Request>("Request")({
  command: Byte,
  address: Address
}) {}

export const codec: Codec<Request> = {
  name,
  maxLength: 3 + maxLength,
  decode: (bytes) => {
    const mismatch = checkVersion(name, version, bytes[0])
    if (mismatch !== undefined) return mismatch
    // What has not arrived reads 0, and is not used before the address behind it is there.
    const [, command = 0, reserved = 0] = bytes
    if (reserved !== 0) return failed(name, new ReservedNotZero({ actual: reserved }))
    const address = decodeAfter(name, bytes, 3)
    if (address._tag !== "Done") return address
    return done(trusted(Request, { command, address: address.value }), address.size)
  },
  encode: ({ address, command }) => encodeAfter([version, command, 0], address)
}

/** A command that is not served here, well formed as it is: 07. */
export const notServed = (command: number): ProtocolError =>
  new ProtocolError({ frame: name, reason: new UnknownCommand({ command }) })
