/**
 * One contender, more and more connections: opened, counted, weighed, and 1 % of them made to talk.
 */
import * as Timers from "node:timers/promises"
import type * as Children from "../Children.ts"
import * as Proc from "../Proc.ts"
import * as Contenders from "./Contenders.ts"
import * as Cpu from "./Cpu.ts"
import * as Generator from "./Generator.ts"
import type * as Results from "./Results.ts"

export interface Plan {
  readonly levels: ReadonlyArray<number>
  /** Milliseconds of messages that count, and of those before. */
  readonly measured: number
  readonly warmUp: number
}

export const full: Plan = { levels: [100, 300, 1_000, 3_000, 10_000], measured: 3_000, warmUp: 500 }
export const quick: Plan = { levels: [100, 1_000], measured: 1_000, warmUp: 300 }

/** Messages a second, all together, whatever the number of connections. */
const rate = 2_000

/** Cores that others may use in a measured window before it is measured again, once. */
const noisy = 0.15

const active = (open: number): number => Math.max(1, Math.round(open / 100))

/** The lowest of a few readings: a collector may just have had more under way. */
const settled = async (pid: number): Promise<number> => {
  let lowest = Number.POSITIVE_INFINITY
  for (let reading = 0; reading < 4; reading++) {
    await Timers.setTimeout(400)
    lowest = Math.min(lowest, Proc.pss(pid))
  }
  return lowest
}

interface Setting {
  readonly proxy: Children.Proxy
  readonly client: Generator.Generator
  readonly target: Generator.Target
  readonly plan: Plan
  /** KiB, before the first connection. */
  readonly memory: number
  readonly kernel: number
}

const echoes = async ({ client, plan, proxy, target }: Setting, open: number) => {
  const elsewhere = (): number => Proc.busy() - Proc.cpuSeconds(client.pid) - Proc.cpuSeconds(target.pid)
  const before = Cpu.nanoseconds(proxy.pid)
  const start = elsewhere()
  const echoes = await client.echo(plan.measured, rate, active(open))
  const end = elsewhere()
  const used = Cpu.nanoseconds(proxy.pid) - before
  const others = Math.max(0, end - start - used / 1e9) / echoes.seconds
  return { ...echoes, cpu: used / 1e3 / echoes.answered, others }
}

const level = async (setting: Setting, asked: number): Promise<Results.Level> => {
  const { client, kernel, memory, plan, proxy } = setting
  const opened = await client.open(asked)
  const sweep = await client.sweep()
  const pss = await settled(proxy.pid)
  const kernelNow = Cpu.kernelMemory()
  await client.echo(plan.warmUp, rate, active(opened.open))
  let echo = await echoes(setting, opened.open)
  if (echo.others > noisy) {
    const again = await echoes(setting, opened.open)
    if (again.others < echo.others) echo = again
  }
  const errors: Record<string, number> = {}
  for (const part of [opened, sweep, echo]) {
    for (const [error, count] of Object.entries(part.errors)) errors[error] = (errors[error] ?? 0) + count
  }
  return {
    asked,
    open: opened.open,
    echoed: sweep.answered,
    cpu: echo.cpu,
    rate: echo.answered / echo.seconds,
    p50: echo.p50,
    p99: echo.p99,
    max: echo.max,
    memory: (pss - memory) / opened.open,
    kernel: (kernelNow - kernel) / opened.open,
    others: echo.others,
    errors
  }
}

const limit = async ({ client, proxy }: Setting, held: number): Promise<Results.Limit> => {
  const descriptors = Cpu.descriptors(proxy.pid) / held
  const before = Cpu.nanoseconds(proxy.pid)
  await Timers.setTimeout(1_000)
  const idleCores = (Cpu.nanoseconds(proxy.pid) - before) / 1e9
  const fewer = Math.max(0, held - 100)
  await client.close(fewer)
  await Timers.setTimeout(500)
  const { open } = await client.open(fewer + 50)
  return { held, descriptors, idleCores, servesAgain: open - fewer }
}

/** Climbs until the top or until no more connections can be had. `say` gets a line of progress. */
export const climb = async (
  contender: Contenders.Contender,
  load: string,
  pin: string,
  plan: Plan,
  say: (line: string) => void
): Promise<Results.Climb> => {
  const { group, name } = contender
  const levels = new Array<Results.Level>()
  const target = await Generator.startTarget(load)
  try {
    const proxy = await Contenders.start(contender, pin)
    const client = Generator.startClient(load, proxy.address.port, target)
    try {
      // A compiler is done and a young generation has grown after this: what comes on top is the connections'.
      await client.churn(1_000)
      await client.open(1_000)
      await client.sweep()
      await client.echo(plan.measured, rate, 50)
      await client.close(0)
      await Timers.setTimeout(1_000)
      const memory = await settled(proxy.pid)
      const setting: Setting = { proxy, client, target, plan, memory, kernel: Cpu.kernelMemory() }
      for (const asked of plan.levels) {
        const result = await level(setting, asked)
        levels.push(result)
        say(
          `${name}  ${result.open} of ${asked} open: ${result.cpu.toFixed(1)} µs a round trip, ` +
            `p99 ${result.p99.toFixed(2)} ms, ${result.memory.toFixed(1)} KiB each  ` +
            `(others ${result.others.toFixed(2)} cores)`
        )
        if (result.open < asked) return { name, group, levels, limit: await limit(setting, result.open) }
      }
      return { name, group, levels }
    } finally {
      // In this order: while its connections are open none of its processes can end between being listed and read.
      await proxy.stop()
      await client.stop()
    }
  } catch (error) {
    const failed = error instanceof Error ? error.message : String(error)
    say(`${name}  given up: ${failed}`)
    return { name, group, levels, failed }
  } finally {
    await target.stop()
  }
}
