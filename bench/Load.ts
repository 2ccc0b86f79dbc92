/** A kind of work, what each unit of it costs the proxy, and what all kinds are made of. */
import type * as Children from "./Children.ts"
import * as Client from "./Client.ts"
import * as Proc from "./Proc.ts"

/** What one measurement gave. */
export interface Sample {
  /** Cost of one unit of work, in the load's unit. */
  readonly cost: number
  /** Units of work that were done. */
  readonly work: number
  /** Seconds that the measured window took. */
  readonly seconds: number
  /** Cores that the proxy used in that window, on average: near 1 when it was the bottleneck. */
  readonly cores: number
  /** Cores that neither the proxy nor the bench used. */
  readonly others: number
  /** How often each kind of failure came. */
  readonly errors: Readonly<Record<string, number>>
}

export interface Load {
  readonly group: "bulk" | "fair" | "rate" | "rr" | "idle" | "udp"
  readonly title: string
  readonly digits: number
  /** The highest ratio to the baseline that is accepted. */
  readonly target: number
  /** How many samples a run takes: more where they differ from process to process. */
  readonly samples: number
  /** Whether the baseline can't do it, so that the proxy stands alone. */
  readonly alone?: boolean
  readonly run: (proxy: Children.Proxy, target: Children.Target) => Promise<Sample>
}

/** Pieces of work that run at once. */
export const concurrency = 64

/** A load with more failures than this is not worth finishing. */
export const tooMany = 50

export class Errors {
  readonly counts: Record<string, number> = {}
  total = 0

  add(what: string): void {
    this.total++
    this.counts[what] = (this.counts[what] ?? 0) + 1
  }
}

export class Meter {
  readonly proxy: number
  readonly target: number
  private readonly cpu: number
  private readonly ours: number
  private readonly busy: number
  readonly started: number

  constructor(proxy: Children.Proxy, target: Children.Target) {
    this.proxy = proxy.pid
    this.target = target.pid
    this.busy = Proc.busy()
    this.ours = this.own()
    this.cpu = Proc.cpuSeconds(this.proxy)
    this.started = performance.now()
  }

  private own(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1e6 + Proc.cpuSeconds(this.target)
  }

  /** CPU seconds of the proxy since the meter was made, and what a sample says of its window. */
  read(): Pick<Sample, "seconds" | "cores" | "others"> & { readonly cpu: number } {
    const seconds = (performance.now() - this.started) / 1_000
    const cpu = Proc.cpuSeconds(this.proxy) - this.cpu
    const others = Proc.busy() - this.busy - cpu - (this.own() - this.ours)
    return { cpu, seconds, cores: cpu / seconds, others: Math.max(0, others / seconds) }
  }
}

/** Opens a connection to an echo port and sees one byte go there and back. */
export const exchange = async (
  proxy: Children.Proxy,
  ports: ReadonlyArray<number>,
  number: number
): Promise<Client.Client> => {
  const client = await Client.dial(proxy.address, ports[number % ports.length] ?? 0)
  const answer = client.byte()
  client.socket.write(Buffer.from([number & 255]))
  if (await answer !== (number & 255)) {
    await client.close()
    throw new Error("data: wrong content")
  }
  return client
}

/** Runs pieces of work, {@link concurrency} at a time, while `more` says so; gives how many succeeded. */
export const each = async (
  errors: Errors,
  more: (number: number) => boolean,
  work: (number: number) => Promise<void>
): Promise<number> => {
  let next = 0
  let done = 0
  const worker = async (): Promise<void> => {
    while (errors.total < tooMany && more(next)) {
      try {
        await work(next++)
        done++
      } catch (error) {
        errors.add(error instanceof Error ? error.message : String(error))
      }
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return done
}

export const below = (count: number) => (number: number): boolean => number < count

export const during = (seconds: number): () => boolean => {
  const end = performance.now() + seconds * 1_000
  return () => performance.now() < end
}
