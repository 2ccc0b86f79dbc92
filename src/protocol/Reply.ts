import * as Schema from "effect/Schema"
import { Address, decodeAfter, encodeAfter, maxLength } from "./Address.ts"
import { Byte, checkVersion, type Codec, done, failed, trusted } from "./Codec.ts"
import { ReservedNotZero } from "./ProtocolError.ts"
import { version } from "./Version.ts"

const name = "reply"

/** The values of REP (RFC 1928 §6). */
export const succeeded = 0x00
export const generalFailure = 0x01
export const notAllowed = 0x02
export const networkUnreachable = 0x03
export const hostUnreachable = 0x04
export const connectionRefused = 0x05
export const ttlExpired = 0x06
export const commandNotSupported = 0x07
export const addressTypeNotSupported = 0x08

const words = [
  "succeeded",
  "general SOCKS server failure",
  "connection not allowed by ruleset",
  "network unreachable",
  "host unreachable",
  "connection refused",
  "TTL expired",
  "command not supported",
  "address type not supported"
]

/** A reply code in the RFC's words. */
export const describe = (code: number): string => words[code] ?? "unassigned"

/**
 * The server's answer to the request (RFC 1928 §6), failures included: always
 * whole, with an address even when there is none to tell.
 *
 * ```text
 * +----+-----+-------+------+----------+----------+
 * |VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |
 * +----+-----+-------+------+----------+----------+
 * | 1  |  1  | X'00' |  1   | Variable |    2     |
 * +----+-----+-------+------+----------+----------+
 * ```
 */
export class Reply extends Schema.Class<Reply>("Reply")({
  code: Byte,
  address: Address
}) {}

export const codec: Codec<Reply> = {
  name,
  maxLength: 3 + maxLength,
  decode: (bytes) => {
    const mismatch = checkVersion(name, version, bytes[0])
    if (mismatch !== undefined) return mismatch
    // What has not arrived reads 0, and is not used before the address behind it is there.
    const [, code = 0, reserved = 0] = bytes
    if (reserved !== 0) return failed(name, new ReservedNotZero({ actual: reserved }))
    const address = decodeAfter(name, bytes, 3)
    if (address._tag !== "Done") return address
    return done(trusted(Reply, { code, address: address.value }), address.size)
  },
  encode: ({ address, code }) => encodeAfter([version, code, 0], address)
}
