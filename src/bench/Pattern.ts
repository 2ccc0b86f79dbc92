/**
 * What the connections carry: 8-byte words that count up from 0 and start over after a prime number of them, so that a
 * lost, doubled or moved block of any usual size shows. Each connection starts at a place of its own, so that bytes of a
 * neighbour show too.
 */
const words = 131_071
const period = words * 8

/** The most bytes that {@link at} gives. */
export const largest = 256 * 1024

const bytes = Buffer.alloc(period + largest)
for (let word = 0; word < bytes.length / 8; word++) {
  // The count is spread over all eight bytes, else most of them would be zeros that compare equal to any others.
  const count = word % words
  bytes.writeUInt32BE(count, word * 8)
  bytes.writeUInt32BE(Math.imul(count + 1, 2_654_435_761) >>> 0, word * 8 + 4)
}

/** `length` bytes (at most {@link largest}) of connection number `stream` from `offset` on, as a view. */
export const at = (stream: number, offset: number, length: number): Buffer => {
  const start = (stream * 4_001 * 8 + offset) % period
  return bytes.subarray(start, start + length)
}
