/** Bytes on their way from one end of a connection in memory to the other. */
import * as Effect from "effect/Effect"
import type { ConnectionError, Watcher } from "./Connection.ts"

/** One direction: a queue of bytes between an end that writes and an end that pulls. */
export class Pipe {
  chunks: Array<Uint8Array> = []
  size = 0
  ended = false
  /** How pulling fails, and how writing does. */
  pullError: ConnectionError | undefined = undefined
  writeError: ConnectionError | undefined = undefined
  /** The end that pulls from it. */
  reader: { readonly watcher: Watcher | undefined } | undefined = undefined
  private readonly waiting = new Set<() => void>()

  /** Waits until somebody changed the pipe. */
  readonly changed: Effect.Effect<void> = Effect.callback((resume) => {
    const wake = () => resume(Effect.void)
    this.waiting.add(wake)
    return Effect.sync(() => {
      this.waiting.delete(wake)
    })
  })

  change(f: () => void): void {
    f()
    const woken = [...this.waiting]
    this.waiting.clear()
    for (const wake of woken) wake()
  }

  push(bytes: Uint8Array): void {
    this.change(() => {
      // Not `slice`, which on a Buffer copies nothing.
      this.chunks.push(new Uint8Array(bytes))
      this.size += bytes.length
    })
  }

  /** The first bytes, from 1 to `limit` of those that are there, however many writes they came in. */
  take(limit: number): Uint8Array {
    const taken = new Uint8Array(Math.max(1, Math.min(limit, this.size)))
    this.change(() => {
      let filled = 0
      while (filled < taken.length) {
        const head = this.chunks[0]
        if (head === undefined) break
        const part = head.subarray(0, taken.length - filled)
        taken.set(part, filled)
        filled += part.length
        if (part.length === head.length) this.chunks.shift()
        else this.chunks[0] = head.subarray(part.length)
      }
      this.size -= filled
    })
    return taken
  }
}
