/** A process of the bench, started by `Fleet`: a target or a generator, until its parent ends. */
import type { Running } from "./Generator.ts"
import type { Answer, Order } from "./Message.ts"

let job: Running | undefined

const answer = (message: Answer): void => void process.send?.(message)

// Each loads what it is: a target has no use for the protocol, and would start later with it.
const obey = async (order: Order): Promise<void> => {
  switch (order._tag) {
    case "Serve": {
      const { serve } = await import("./Target.ts")
      return answer({ _tag: "Serving", ports: await serve() })
    }
    case "Load": {
      const { run } = await import("./Generator.ts")
      job = run(order, answer)
      return
    }
    case "Go":
      return job?.go()
    case "Mark":
      return job?.mark()
    case "Stop":
      return job?.stop()
  }
}

// One after the other, though some take longer than others. A failure ends the process, which its parent notices.
let last = Promise.resolve()
process.on("message", (message) => {
  // Node types a message as unknown; the parent sends nothing but orders.
  last = last.then(() => obey(message as Order))
})
process.once("disconnect", () => process.exit(0))
// It may have come before anyone listened.
if (!process.connected) process.exit(0)
// Terminals, and those who supervise, tell the whole group; the parent decides what it means.
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, () => {})
