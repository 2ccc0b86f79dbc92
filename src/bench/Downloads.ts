/** `--mode bulk`: connections over which the target sends as fast as it can. */
import * as Failure from "./Failure.ts"
import { type Driver, graceMillis, type Load } from "./Load.ts"
import * as Pattern from "./Pattern.ts"
import type { Tunnel } from "./Tunnel.ts"

interface Stream {
  readonly tunnel: Tunnel
  readonly number: number
  received: number
}

export const make = (load: Load): Driver => {
  const { checked } = load.job
  const streams: Array<Stream> = []

  const receive = (stream: Stream, chunk: Buffer): void => {
    const { number, received, tunnel } = stream
    if (checked && !chunk.equals(Pattern.at(number, received, chunk.length))) return tunnel.fail(Failure.wrongBytes)
    const now = performance.now()
    if (received === 0 && tunnel.timedSince !== 0) load.answered(tunnel, now)
    stream.received += chunk.length
    load.bytes += chunk.length
    tunnel.waitingSince = now
  }

  return {
    open: (ready) =>
      load.openAll((tunnel, number, opened) => {
        const stream: Stream = { tunnel, number: number & 255, received: 0 }
        streams.push(stream)
        tunnel.onData = (chunk) => receive(stream, chunk)
        opened()
      }, ready),
    go: () => {
      for (const stream of streams) {
        // One that was lost since ignores this.
        load.expect(stream.tunnel)
        // Our own source begins when it is told which stream it is; any other begins by itself.
        if (checked) stream.tunnel.write(Buffer.of(stream.number))
      }
    },
    stop: (done) => {
      // One that has been silent for long is to show that it still runs.
      const latest = performance.now() - graceMillis
      const silent = new Set<Tunnel>()
      for (const { tunnel } of streams) {
        if (tunnel.waitingSince === 0 || tunnel.waitingSince >= latest) load.hangUp(tunnel)
        else silent.add(tunnel)
      }
      const settle = (tunnel: Tunnel): void => {
        silent.delete(tunnel)
        if (silent.size === 0) done()
      }
      if (silent.size === 0) return done()
      for (const tunnel of silent) {
        tunnel.onData = () => {
          load.hangUp(tunnel)
          settle(tunnel)
        }
        const lost = tunnel.onFailure
        tunnel.onFailure = (kind) => {
          lost(kind)
          settle(tunnel)
        }
      }
    }
  }
}
