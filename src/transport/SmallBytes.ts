/** A few bytes at a time, as handshakes and keystrokes have them: what is cheap for many is dear for few. */

/** Bytes that a copy by loop, without a view for it, is fastest for: those of a handshake. */
const few = 64

/** The first `size` bytes of a buffer that will be read into again. */
export const copyOf = (buffer: Uint8Array, size: number): Uint8Array => {
  if (size > few) return Buffer.from(buffer.subarray(0, size))
  const copy = Buffer.allocUnsafe(size)
  for (let i = 0; i < size; i++) copy[i] = buffer[i] ?? 0
  return copy
}

/**
 * The same bytes where they can be written from at once: V8 keeps a small array in its heap, and to write from there it
 * must first be given memory of its own, which takes 1 µs.
 */
export const pooled = (bytes: Uint8Array): Uint8Array =>
  bytes.length > few || Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes)
