/** A command's result on stdout. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import { escape } from "../config/Escape.ts"
import type { Protocol } from "../server/Dialect.ts"
import * as ListenAddress from "../transport/ListenAddress.ts"
import { type CommandError, failed } from "./CommandError.ts"

/** Ends when all of it has been taken, by a reader that may be slow; a reader that is gone is a failure. */
export const print = (text: string): Effect.Effect<void, CommandError> =>
  Effect.callback((resume) => {
    const lost = (error: NodeJS.ErrnoException): void =>
      resume(Effect.fail(failed(`stdout: the report can't be written (${error.code ?? error.message})`)))
    // Without a listener it would end the process with a stack trace.
    process.stdout.on("error", lost)
    process.stdout.write(`${text}\n`, (error) => {
      if (error !== null && error !== undefined) return lost(error)
      // Else a report of many lines would leave one for each.
      process.stdout.off("error", lost)
      resume(Effect.void)
    })
  })

/** A line for each listener, with the scheme that most clients take. */
export const listening = (
  addresses: ReadonlyArray<ListenAddress.ListenAddress>,
  protocols: ReadonlyArray<Protocol>
): Effect.Effect<void> => {
  const scheme = (["socks5", "socks4"] as const).find((protocol) => protocols.includes(protocol)) ?? "http"
  return Effect.forEach(
    addresses,
    (address) => Console.log(`listening on ${escape(ListenAddress.formatUrl(address, scheme))}`),
    { discard: true }
  )
}
