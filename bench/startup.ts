/**
 * How long `sluice serve` takes until it listens, beside what the least program of Effect's CLI takes to print its
 * version: `npm run bench:startup`. In turns, each in a process of its own; medians.
 */
import * as ChildProcess from "node:child_process"

const rounds = 9

const file = (path: string): string => new URL(path, import.meta.url).pathname

/** Milliseconds until a program has printed something. */
const untilHeard = (...args: ReadonlyArray<string>): Promise<number> =>
  new Promise((resolve, reject) => {
    const started = performance.now()
    const child = ChildProcess.spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] })
    child.once("exit", (code) => reject(new Error(`${args.join(" ")} ended with ${code} and said nothing`)))
    child.stdout.once("data", () => {
      resolve(performance.now() - started)
      child.kill("SIGKILL")
    })
  })

const median = (times: ReadonlyArray<number>): number =>
  times.toSorted((a, b) => a - b)[times.length >> 1] ?? Number.NaN

const bare: Array<number> = []
const serve: Array<number> = []
for (let round = 0; round < rounds; round++) {
  bare.push(await untilHeard(file("./bare.js"), "--version"))
  serve.push(await untilHeard(file("../../dist/cli.js"), "serve", "--listen", "127.0.0.1:0"))
}
const [theirs, ours] = [median(bare), median(serve)]
process.stdout.write(
  `bare CLI --version ${theirs.toFixed(0)} ms, serve listens ${ours.toFixed(0)} ms, ratio ${
    (ours / theirs).toFixed(2)
  }\n`
)
