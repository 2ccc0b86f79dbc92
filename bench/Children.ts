/**
 * The processes that the bench starts: the target and one proxy at a time. None outlives it, and no other is touched.
 */
import * as ChildProcess from "node:child_process"
import type * as Client from "./Client.ts"
import * as Proc from "./Proc.ts"

const live = new Set<ChildProcess.ChildProcess>()

const kill = (processes: ReadonlyArray<Proc.Id>): void => {
  for (const id of processes) {
    if (Proc.runs(id)) process.kill(id.pid, "SIGKILL")
  }
}

process.once("exit", () => {
  for (const child of live) {
    if (child.pid !== undefined) kill(Proc.family(child.pid))
  }
})
process.once("SIGINT", () => process.exit(130))
process.once("SIGTERM", () => process.exit(143))

const watch = (child: ChildProcess.ChildProcess): number => {
  live.add(child)
  child.once("exit", () => live.delete(child))
  if (child.pid === undefined) throw new Error("could not start a process")
  return child.pid
}

/**
 * Puts this process, and with it all it starts, on core 0 and the proxies on core 1, where the machine has two cores
 * and `taskset`. Gives what to put before a proxy's command.
 */
export const pin = (cores: number): string => {
  if (cores < 2) return ""
  const done = ChildProcess.spawnSync("taskset", ["-acp", "0", `${process.pid}`], { stdio: "ignore" })
  return done.status === 0 ? "taskset -c 1 " : ""
}

export interface Target {
  readonly pid: number
  readonly echo: ReadonlyArray<number>
  readonly source: number
}

export const startTarget = (): Promise<Target> =>
  new Promise((resolve, reject) => {
    const child = ChildProcess.fork(new URL("./target.js", import.meta.url))
    const pid = watch(child)
    child.once("exit", (code) => reject(new Error(`the target ended with ${code}`)))
    // The only message that target.ts sends.
    child.once("message", (ports) => resolve({ pid, ...(ports as Omit<Target, "pid">) }))
  })

export interface Proxy {
  readonly pid: number
  readonly address: Client.Address
  readonly stop: () => Promise<void>
}

/**
 * Starts a proxy by a shell command and waits, at most 15 s, until it prints `listening on socks5://127.x.x.x:PORT`.
 * What it prints is read and dropped, as it would be by something that keeps its log.
 */
export const startProxy = (command: string): Promise<Proxy> =>
  new Promise((resolve, reject) => {
    const child = ChildProcess.spawn("sh", ["-c", `exec ${command}`], { stdio: ["ignore", "pipe", "pipe"] })
    const pid = watch(child)
    let said = ""
    let ready = false
    const stop = (): Promise<void> =>
      new Promise((done) => {
        const all = Proc.family(pid)
        const timer = setTimeout(() => kill(all), 3_000)
        const finish = (): void => {
          clearTimeout(timer)
          kill(all)
          done()
        }
        if (child.exitCode !== null || child.signalCode !== null) return finish()
        child.once("exit", finish)
        child.kill("SIGTERM")
      })
    const fail = (why: string): void => {
      if (ready) return
      ready = true
      void stop().then(() => reject(new Error(`${command}\n${why}; it said:\n${said}`)))
    }
    const timer = setTimeout(() => fail("did not listen within 15 s"), 15_000)
    child.once("exit", (code) => {
      clearTimeout(timer)
      fail(`ended with ${code}`)
    })
    const listen = (chunk: Buffer): void => {
      if (ready) return
      said = (said + chunk.toString()).slice(-2_000)
      const line = /listening on socks5:\/\/(127\.[\d.]+):(\d+)/.exec(said)
      if (line === null) return
      ready = true
      clearTimeout(timer)
      resolve({ pid, address: { host: line[1] ?? "", port: Number(line[2]) }, stop })
    }
    child.stdout.on("data", listen)
    child.stderr.on("data", listen)
  })
