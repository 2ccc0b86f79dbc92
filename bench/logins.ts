/**
 * What logins cost, and what a storm of wrong ones does to others: `npm run bench:logins`.
 *
 * - Connections a second with a login, beside those without, in turns; medians. The passwords are in a users file.
 * - What a download keeps of its rate while 200 logins a second with wrong passwords come, from 200 addresses, in a
 *   proxy that has the machine's processors to share with the load, and in one that has a processor to itself.
 */
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Fs from "node:fs"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Timers from "node:timers/promises"
import * as PasswordHash from "../src/policy/PasswordHash.ts"
import { Downloads } from "./Bulk.ts"
import * as Children from "./Children.ts"
import * as Client from "./Client.ts"
import { during, each, Errors, exchange, Meter } from "./Load.ts"

const rounds = 9
/** Wrong logins a second. */
const pace = 200
const login = { name: "ann", password: "correct horse" }

const folder = Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-bench-"))
process.once("exit", () => Fs.rmSync(folder, { recursive: true }))
const users = Path.join(folder, "users")
const hash = await Effect.runPromise(PasswordHash.hash(Redacted.make(login.password)))
Fs.writeFileSync(users, `${login.name}:${hash}\nbob:${hash}\n`)

const program = process.env.SLUICE_BENCH_CLI ?? new URL("../../dist/cli.js", import.meta.url).pathname
const command = `'${process.execPath}' '${program}' serve --listen 127.0.0.1:0`

const median = (values: ReadonlyArray<number>): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

const of = (values: ReadonlyArray<number>): string => median(values).toFixed(0)

const say = (text: string): void => void process.stdout.write(`${text}\n`)

const complain = (errors: Errors): void => {
  for (const [what, count] of Object.entries(errors.counts)) {
    process.exitCode = 1
    say(`**Error:** ${what} (${count} times)`)
  }
}

const target = await Children.startTarget()

/** Connections a second, 64 at a time without a pause, and the CPU-µs of each. */
const rate = async (
  prefix: string,
  withLogin: boolean
): Promise<{ readonly perSecond: number; readonly cost: number }> => {
  const started = await Children.startProxy(`${prefix}${command}${withLogin ? ` --users '${users}'` : ""}`)
  const proxy = withLogin ? { ...started, address: { ...started.address, login } } : started
  const errors = new Errors()
  const visit = async (number: number): Promise<void> => {
    await (await exchange(proxy, target.echo, number)).close()
  }
  // Until the optimizing compiler is done with the proxy.
  await each(errors, during(2), visit)
  const meter = new Meter(proxy, target)
  const work = await each(errors, during(2), visit)
  const { cpu, seconds } = meter.read()
  await started.stop()
  complain(errors)
  return { perSecond: work / seconds, cost: cpu / work * 1e6 }
}

const compareRates = async (prefix: string): Promise<void> => {
  const samples: Record<"without" | "with", Array<Awaited<ReturnType<typeof rate>>>> = { without: [], with: [] }
  for (let round = 0; round < rounds; round++) {
    samples.without.push(await rate(prefix, false))
    samples.with.push(await rate(prefix, true))
  }
  // Of those that were measured one after the other, so that the machine's drift hits both.
  const shares = samples.with.map((sample, round) =>
    100 * sample.perSecond / (samples.without[round]?.perSecond ?? NaN)
  )
  say(
    `connections a second, without and with a login: ${of(samples.without.map(({ perSecond }) => perSecond))}, ` +
      `${of(samples.with.map(({ perSecond }) => perSecond))}: ${of(shares)} % (target: ≥ 80)`
  )
  say(
    `CPU-µs per connection: ${of(samples.without.map(({ cost }) => cost))}, ${of(samples.with.map(({ cost }) => cost))}`
  )
}

/** Wrong logins, until it is told to stop. Gives how many were refused, and how long each took. */
const storm = (address: Client.Address): { readonly stop: () => Promise<ReadonlyArray<number>> } => {
  const times: Array<number> = []
  const running = new Set<Promise<void>>()
  const until = { stopped: false }
  const attempt = async (number: number): Promise<void> => {
    const started = performance.now()
    try {
      await (await Client.dial({ ...address, login: { name: "ann", password: `wrong${number}` } }, 1)).close()
    } catch {
      times.push(performance.now() - started)
    }
  }
  const loop = (async () => {
    const started = performance.now()
    let next = 0
    while (!until.stopped) {
      const due = (performance.now() - started) / 1_000 * pace
      while (next < due) {
        const piece = attempt(next++)
        running.add(piece)
        void piece.finally(() => running.delete(piece))
      }
      await Timers.setTimeout(2)
    }
  })()
  return {
    stop: async () => {
      until.stopped = true
      await loop
      await Promise.all(running)
      return times
    }
  }
}

const measured = async (downloads: Downloads, seconds: number): Promise<number> => {
  const [before, started] = [downloads.bytes, performance.now()]
  await Timers.setTimeout(seconds * 1_000)
  return (downloads.bytes - before) / (performance.now() - started) / 1e3
}

/** The rates of a download without and with the storm, in MB (10⁶ bytes) a second. */
const beside = async (
  prefix: string
): Promise<{ readonly alone: number; readonly stormy: number; readonly note: string }> => {
  const started = await Children.startProxy(`${prefix}${command} --users '${users}'`)
  const proxy = { ...started, address: { ...started.address, login } }
  const errors = new Errors()
  const downloads = new Downloads(errors)
  await downloads.start(proxy, target, 0)
  await Timers.setTimeout(1_000)
  const alone = await measured(downloads, 3)
  const wrong = storm(started.address)
  await Timers.setTimeout(1_000)
  const honest: Array<number> = []
  let turnedAway = 0
  const counting = (async () => {
    for (let index = 0; index < 20; index++) {
      const began = performance.now()
      try {
        await (await Client.dial(proxy.address, target.echo[0] ?? 0)).close()
        honest.push(performance.now() - began)
      } catch {
        turnedAway++
      }
      await Timers.setTimeout(150)
    }
  })()
  const stormy = await measured(downloads, 5)
  await counting
  const times = await wrong.stop()
  await downloads.stop()
  await started.stop()
  complain(errors)
  const note = `${times.length} wrong logins refused, half of them within ${median(times).toFixed(0)} ms; ` +
    `${honest.length} of ${honest.length + turnedAway} right ones let in, half of them within ${
      median(honest).toFixed(0)
    } ms`
  return { alone, stormy, note }
}

const compareStorms = async (where: string, prefix: string): Promise<void> => {
  const samples: Array<Awaited<ReturnType<typeof beside>>> = []
  for (let round = 0; round < 3; round++) samples.push(await beside(prefix))
  const shares = samples.map(({ alone, stormy }) => 100 * stormy / alone)
  const [alone, stormy] = [median(samples.map(({ alone }) => alone)), median(samples.map(({ stormy }) => stormy))]
  say(
    `MB/s of a download, alone and beside ${pace} wrong logins a second, ${where}: ` +
      `${alone.toFixed(0)}, ${stormy.toFixed(0)}: ${median(shares).toFixed(0)} % (target: ≥ 70)`
  )
  say(`  ${samples.at(-1)?.note ?? ""}`)
}

const wanted = process.argv[2] === "--only" ? process.argv[3] : undefined
const cores = Os.cpus().length
if (wanted !== "login") await compareStorms("processors shared", "")
const prefix = Children.pin(cores)
if (wanted !== "login") await compareStorms("proxy on a processor of its own", prefix)
if (wanted !== "storm") await compareRates(prefix)
process.exit()
