/**
 * The processes of `load.c`: the client, which obeys lines, and the target.
 */
import * as ChildProcess from "node:child_process"
import * as Readline from "node:readline"

/** What stands in every answer. */
export interface Answer {
  /** Connections that are open now. */
  readonly open: number
  /** How often each kind of failure came since the last answer. */
  readonly errors: Readonly<Record<string, number>>
}

export interface Sweep extends Answer {
  readonly asked: number
  readonly answered: number
}

/** Milliseconds, but `seconds`. */
export interface Echoes extends Answer {
  readonly sent: number
  /** Messages that were due while their connection had 1,024 unanswered. */
  readonly heldBack: number
  readonly answered: number
  readonly seconds: number
  readonly p50: number
  readonly p99: number
  readonly max: number
}

interface Process {
  readonly pid: number
  /** Sends a line when there is one; resolves with the next line of JSON. */
  readonly ask: (line?: string) => Promise<unknown>
  readonly stop: () => Promise<void>
}

/** Both end when their standard input does, so also when this process ends in any way. */
const start = (path: string, args: ReadonlyArray<string>): Process => {
  const child = ChildProcess.spawn(path, args, { stdio: ["pipe", "pipe", "inherit"] })
  const ended = new Promise<void>((resolve) => child.once("close", () => resolve()))
  const lines = Readline.createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  child.stdin.on("error", () => {})
  return {
    pid: child.pid ?? 0,
    ask: async (line) => {
      if (line !== undefined) child.stdin.write(`${line}\n`)
      const next = await lines.next()
      if (next.done === true) throw new Error(`load ${args[0]} ended at "${line ?? ""}" with ${child.exitCode}`)
      return JSON.parse(next.value)
    },
    stop: async () => {
      child.stdin.end()
      const timer = setTimeout(() => child.kill("SIGKILL"), 3_000)
      await ended
      clearTimeout(timer)
    }
  }
}

export interface Target {
  readonly pid: number
  readonly ports: ReadonlyArray<number>
  readonly stop: () => Promise<void>
}

/** Starts the echo at the far end. */
export const startTarget = async (path: string): Promise<Target> => {
  const child = start(path, ["target"])
  // The only line that it writes.
  const { ports } = await child.ask() as Pick<Target, "ports">
  return { pid: child.pid, ports, stop: child.stop }
}

export interface Generator {
  readonly pid: number
  /** Opens connections until `count` are open; gives up after 64 failures in a row. */
  readonly open: (count: number) => Promise<Answer>
  /** Closes connections until `count` are open. */
  readonly close: (count: number) => Promise<Answer>
  readonly churn: (count: number) => Promise<Answer>
  /** One message over each open connection. */
  readonly sweep: () => Promise<Sweep>
  readonly echo: (milliseconds: number, rate: number, active: number) => Promise<Echoes>
  readonly stop: () => Promise<void>
}

/** Starts a client of the proxy on a port of 127.0.0.1. */
export const startClient = (path: string, proxy: number, target: Target): Generator => {
  const { ask, pid, stop } = start(path, ["client", `${proxy}`, target.ports.join(",")])
  // The answers have the fields of these types, by load.c.
  return {
    pid,
    open: (count) => ask(`open ${count}`) as Promise<Answer>,
    close: (count) => ask(`close ${count}`) as Promise<Answer>,
    churn: (count) => ask(`churn ${count}`) as Promise<Answer>,
    sweep: () => ask("sweep") as Promise<Sweep>,
    echo: (milliseconds, rate, active) => ask(`echo ${milliseconds} ${rate} ${active}`) as Promise<Echoes>,
    stop
  }
}
