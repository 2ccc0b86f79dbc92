/** Just as much of a datagram's header as each datagram needs; `UdpHeader` reads all of it, for new destinations. */
import * as Address from "../protocol/Address.ts"

/** Where the header of a datagram ends; 0 when there is none (RFC 1928 §7). Whether it makes sense is not asked here. */
export const headerEnd = (bytes: Uint8Array): number => {
  const [first = 1, second = 1, , type = 0, length = 0] = bytes
  const end = type === Address.AddressType.Ipv4
    ? 10
    : type === Address.AddressType.Ipv6
    ? 22
    : type === Address.AddressType.Domain
    ? 7 + length
    : 0
  return first === 0 && second === 0 && end <= bytes.length ? end : 0
}

/** All that a header says but FRAG, as text: a Map finds no bytes. */
export const keyOf = (bytes: Uint8Array, end: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + 3, end - 3).toString("latin1")
