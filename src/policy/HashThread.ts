/**
 * A thread that hashes passwords, one at a time, and only with what time the others leave it.
 *
 * libuv's own threads would do, but for their priority: two of them that hash take two thirds of a processor from the
 * event loop, and with it from everything that is relayed. On Linux a thread can be nicer than its process; elsewhere it
 * has to be as the others are.
 */
import { createRequire } from "node:module"
import { Worker } from "node:worker_threads"

/** What to compute, with the parameters of `@node-rs/argon2`. */
export type Job =
  | { readonly kind: "hash"; readonly password: string; readonly parameters: object }
  | { readonly kind: "verify"; readonly password: string; readonly encoded: string }

/** Two such threads take a fifteenth of a processor from a busy event loop, and what nobody wants else. */
const niceness = 15

/** As text, since a bundle has no file for it. */
const source = `
const { parentPort, workerData } = require("node:worker_threads")
const os = require("node:os")
const argon2 = require(workerData)
if (process.platform === "linux") {
  try {
    os.setPriority(0, ${niceness})
  } catch {}
}
parentPort.on("message", ({ encoded, kind, parameters, password }) => {
  try {
    parentPort.postMessage({
      value: kind === "hash" ? argon2.hashSync(password, parameters) : argon2.verifySync(encoded, password)
    })
  } catch (error) {
    parentPort.postMessage({ problem: error instanceof Error ? error.message : "unknown" })
  }
})
`

type Answer = { readonly value: string | boolean } | { readonly problem: string }

export class HashThread {
  private worker: Worker | undefined
  private settle: ((answer: Answer) => void) | undefined

  /** Starts the thread if it is not there, which takes some milliseconds. */
  private start(): Worker {
    const worker = new Worker(source, {
      eval: true,
      workerData: createRequire(import.meta.url).resolve("@node-rs/argon2"),
      // Those of the process may be about inspecting it, or about its own heap.
      execArgv: [],
      env: {},
      name: "hash"
    })
    worker.on("message", (answer: Answer) => this.settle?.(answer))
    worker.on("error", ({ message }) => this.settle?.({ problem: message }))
    worker.once("exit", () => {
      if (this.worker === worker) this.worker = undefined
      this.settle?.({ problem: "the thread has ended" })
    })
    return worker
  }

  /** One at a time. It can't be interrupted, and keeps the process alive until it is done. */
  run(job: Job): Promise<string | boolean> {
    const worker = this.worker ??= this.start()
    worker.ref()
    return new Promise((resolve, reject) => {
      this.settle = (answer) => {
        this.settle = undefined
        worker.unref()
        if ("value" in answer) resolve(answer.value)
        else reject(new Error(`hashing failed: ${answer.problem}`))
      }
      // A thread has no origin.
      // oxlint-disable-next-line require-post-message-target-origin
      worker.postMessage(job)
    })
  }
}
