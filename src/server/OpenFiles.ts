/** How many connections the open-files limit has room for. */
import * as Effect from "effect/Effect"
import { readFile } from "node:fs/promises"

/** A client's socket, its target's, and one in a hundred for lookups and files. */
const descriptorsPerConnection = 2.01

/** Kept free for listeners, standard streams, the resolver and libuv's own. */
const reserve = 80

/** Where the limit can't be read: what most systems give. */
const usualLimit = 1024

/** Connections that fit under a limit of open files; half of a very small one is kept free. */
export const connectionsWithin = (openFiles: number): number =>
  Math.max(1, Math.floor((openFiles - Math.min(reserve, openFiles / 2)) / descriptorsPerConnection))

/**
 * The last descriptor that a client may have. The system gives out the lowest free one, so that its number tells
 * how many are in use; those behind are for the targets of clients that are being served.
 */
export const lastForClients = (openFiles: number): number => openFiles - 1 - Math.min(64, Math.floor(openFiles / 8))

/** The process's soft limit (which Node raises to the hard one as it starts). */
export const openFilesLimit: Effect.Effect<number> = Effect.tryPromise(() => readFile("/proc/self/limits", "utf8"))
  .pipe(
    Effect.map((limits) => Number(/^Max open files\s+(\d+)/m.exec(limits)?.[1] ?? Infinity)),
    Effect.orElseSucceed(() => usualLimit),
    Effect.map((limit) => Math.min(limit, 1_048_576))
  )
