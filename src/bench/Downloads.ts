/** `--mode bulk`: connections over which the target sends as fast as it can. */
import * as Failure from "./Failure.ts"
import type { Driver, Load } from "./Load.ts"
import * as Pattern from "./Pattern.ts"
import type { Tunnel } from "./Tunnel.ts"

interface Stream {
  readonly tunnel: Tunnel
  readonly number: number
  since: number
  received: number
}

export const make = (load: Load): Driver => {
  const { checked } = load.job
  const streams: Array<Stream> = []

  const receive = (stream: Stream, chunk: Buffer): void => {
    const { number, received, tunnel } = stream
    if (checked && !chunk.equals(Pattern.at(number, received, chunk.length))) return tunnel.fail(Failure.wrongBytes)
    const now = performance.now()
    if (received === 0 && stream.since > 0) load.echo.record(now - stream.since)
    stream.received += chunk.length
    load.bytes += chunk.length
    tunnel.waitingSince = now
  }

  return {
    open: (ready) =>
      load.openAll((tunnel, number, opened) => {
        const stream: Stream = { tunnel, number: number & 255, since: 0, received: 0 }
        streams.push(stream)
        tunnel.onData = (chunk) => receive(stream, chunk)
        opened()
      }, ready),
    go: () => {
      const now = performance.now()
      for (const stream of streams) {
        // One that was lost since ignores this.
        stream.tunnel.waitingSince = now
        stream.since = now
        // Our own source begins when it is told which stream it is; any other begins by itself.
        if (checked) stream.tunnel.write(Buffer.of(stream.number))
      }
    },
    stop: (done) => {
      for (const { tunnel } of streams) load.hangUp(tunnel)
      done()
    }
  }
}
