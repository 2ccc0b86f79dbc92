/**
 * The memory that sockets read into: one shared buffer for all quiet ones, and
 * a bounded pool of larger ones that busy sockets lease.
 *
 * A socket keeps the buffer that it was handed until its next read, so bytes in
 * the shared buffer must be copied out before anything else happens; bytes in a
 * leased buffer may be written from where they are, as nobody else reads into
 * it. Ten thousand quiet connections thus cost 64 KiB together, and a busy one
 * neither allocates nor copies. `npm run bench` shows both.
 */

/** Bytes of the buffer that all quiet sockets read into. */
export const sharedSize = 64 * 1024

/** Bytes of a leased buffer: one read of a busy socket. */
export const leaseSize = 256 * 1024

/** A read into a leased buffer of fewer bytes than this ends the lease. */
export const leaseWorthwhile = 16 * 1024

/** How many leases may be out at once: 32 MiB. Further busy sockets copy. */
const maxLeases = 128

/** How many returned buffers are kept for the next lease: 4 MiB. */
const maxKept = 16

export const shared: Uint8Array = Buffer.allocUnsafeSlow(sharedSize)

/** The buffer for the next read of the socket whose callback is running. */
let next = shared

export const setNext = (buffer: Uint8Array): void => {
  next = buffer
}

/** Once: sockets that are opened meanwhile ask for a buffer too, and theirs is the shared one. */
export const takeNext = (): Uint8Array => {
  const buffer = next
  next = shared
  return buffer
}

const kept: Array<Uint8Array> = []
let out = 0

/** A buffer of one's own, or `undefined` when all are out. */
export const take = (): Uint8Array | undefined => {
  if (out >= maxLeases) return undefined
  out++
  return kept.pop() ?? Buffer.allocUnsafeSlow(leaseSize)
}

/** Returns a buffer that no socket will read into and no write still reads from. */
export const give = (lease: Uint8Array): void => {
  out--
  if (kept.length < maxKept) kept.push(lease)
}

/** Ends a lease whose buffer may still be read from by a pending write: it is left to the collector. */
export const drop = (): void => {
  out--
}

/** How many leases are out. */
export const leased = (): number => out
