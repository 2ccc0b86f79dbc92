/** `--mode rate`: connect, one byte each way, close, and again. */
import * as Failure from "./Failure.ts"
import type { Driver, Load } from "./Load.ts"
import * as Pacer from "./Pacer.ts"

/** A proxy that refuses at once is asked again after this, not in a busy loop. */
const pauseMillis = 100

export const make = (load: Load): Driver => {
  const { connections, rate } = load.job
  let working = false
  let running = 0
  let number = 0
  let onDone: (() => void) | undefined

  const finish = (well: boolean): void => {
    running--
    if (working && rate === undefined) {
      if (well) visit(0)
      else setTimeout(() => working && visit(0), pauseMillis)
    }
    if (!working && running === 0) onDone?.()
  }

  const visit = (due: number): void => {
    running++
    load.dial(
      (tunnel) => {
        const byte = number++ & 255
        tunnel.onData = (chunk) => {
          if (chunk.length !== 1 || chunk[0] !== byte) return tunnel.fail(Failure.wrongBytes)
          load.answered(tunnel, performance.now())
          load.units++
          load.hangUp(tunnel)
          finish(true)
        }
        load.expect(tunnel)
        tunnel.write(Buffer.of(byte))
      },
      () => finish(false),
      due
    )
  }

  const pacer = rate === undefined ? undefined : Pacer.make(rate, (due) => {
    if (running >= connections) return false
    visit(due)
    return true
  })

  return {
    open: (ready) => ready(),
    go: () => {
      working = true
      if (pacer !== undefined) return pacer.start()
      for (let slot = 0; slot < connections; slot++) visit(0)
    },
    stop: (done) => {
      working = false
      pacer?.stop()
      if (running === 0) return done()
      onDone = done
    }
  }
}
