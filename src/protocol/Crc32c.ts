/** CRC-32C, the checksum of RFC 4960 Appendix B: Castagnoli's polynomial, bits reflected. */

const polynomial = 0x82f63b78

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let remainder = byte
  for (let bit = 0; bit < 8; bit++) remainder = (remainder & 1) === 0 ? remainder >>> 1 : (remainder >>> 1) ^ polynomial
  return remainder
})

/** The checksum of bytes, from 0 to 2³² - 1. */
export const crc32c = (bytes: Uint8Array): number => {
  let remainder = 0xffffffff
  for (const byte of bytes) remainder = (remainder >>> 8) ^ (table[(remainder ^ byte) & 0xff] ?? 0)
  return (remainder ^ 0xffffffff) >>> 0
}
