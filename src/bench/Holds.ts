/** `--mode idle`: connections that are used once, left alone, and used once more at the end. */
import * as Failure from "./Failure.ts"
import type { Driver, Load } from "./Load.ts"
import type { Tunnel } from "./Tunnel.ts"

/** Connections that are tried at a time in the end: their echoes are to be answered, not to queue. */
const atATime = 128

export const make = (load: Load): Driver => {
  const held = new Set<Tunnel>()

  /** Sends a byte; what comes back is the same byte, once. */
  const exchange = (tunnel: Tunnel, byte: number, answered: () => void): void => {
    tunnel.onData = (chunk) => {
      if (chunk.length !== 1 || chunk[0] !== byte) return tunnel.fail(Failure.wrongBytes)
      load.answered(tunnel, performance.now())
      tunnel.onData = () => tunnel.fail(Failure.wrongBytes)
      answered()
    }
    load.expect(tunnel)
    tunnel.write(Buffer.of(byte))
  }

  const hold = (tunnel: Tunnel, byte: number, opened: () => void): void => {
    const lost = tunnel.onFailure
    tunnel.onFailure = (kind) => {
      held.delete(tunnel)
      lost(kind)
    }
    exchange(tunnel, byte, () => {
      held.add(tunnel)
      load.units++
      opened()
    })
  }

  return {
    open: (ready) => load.openAll((tunnel, number, opened) => hold(tunnel, number & 255, opened), ready),
    go: () => {},
    stop: (done) => {
      const waiting = [...held]
      let missing = waiting.length
      if (missing === 0) return done()
      const one = (): void => {
        const tunnel = waiting.pop()
        if (tunnel === undefined) return
        let isSettled = false
        const settle = (): void => {
          if (isSettled) return
          isSettled = true
          if (--missing === 0) done()
          one()
        }
        // Lost while it waited for its turn, and counted then.
        if (!held.has(tunnel)) return settle()
        const lost = tunnel.onFailure
        tunnel.onFailure = (kind) => {
          lost(kind)
          settle()
          // There is nobody left to spare, and all are to be counted.
          if (kind === Failure.timeout) { while (waiting.length > 0) one() }
        }
        exchange(tunnel, waiting.length & 255, settle)
      }
      for (let slot = Math.min(atATime, missing); slot > 0; slot--) one()
    }
  }
}
