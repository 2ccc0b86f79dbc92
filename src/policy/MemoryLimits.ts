/**
 * The `LimitStore` that ships: all of it in this process's memory, and bounded there. What was used of a quota can be
 * kept in a file.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import type { Holder, Limits, LimitSet } from "./Limit.ts"
import { LimitAccount } from "./LimitAccount.ts"
import { LimitAccounts } from "./LimitAccounts.ts"
import { LimitSession, type MemoryLease } from "./LimitSession.ts"
import { type LimitExceeded, LimitStore, type Who } from "./LimitStore.ts"
import { UsageBook } from "./Usage.ts"
import * as UsageFile from "./UsageFile.ts"

export interface Options {
  /** Where the bytes that were used are kept. Default: nowhere, and a restart forgets them. */
  readonly stateFile?: string | undefined
  /** How many clients that are not connected are remembered, and how many users and groups. Default: 65,536. */
  readonly remember?: number | undefined
}

/** What a holder of limits has in use. */
export interface InUse {
  readonly holder: Holder
  readonly limits: Limits
  readonly connections: number
  readonly devices: number
}

type Exhausted = (error: LimitExceeded) => void

/** The store, and what there is to do about it beyond its service. */
export class MemoryLimits extends Context.Service<MemoryLimits, {
  readonly admit: (who: Who, exhausted: Exhausted) => Effect.Effect<MemoryLease, LimitExceeded>
  readonly meet: (client: Who["client"], exhausted: Exhausted) => Effect.Effect<MemoryLease, LimitExceeded>
  /**
   * Goes on under other limits, which hold for those who are in too, at once: they count, and stay even where they are more
   * than may be. Only who has used up a quota has to end.
   */
  readonly replace: (limits: LimitSet) => Effect.Effect<void>
  /** Keeps what is used in another file from now on. Of what both know of, the larger counts. */
  readonly keepIn: (stateFile: string | undefined) => Effect.Effect<void>
  /** Tells, at once and after each change of the limits, whether those count who have not said who they are. */
  readonly watch: (tell: (countsStrangers: boolean) => void) => Effect.Effect<void, never, Scope.Scope>
  /** Who has something in use, or had a moment ago. */
  readonly list: Effect.Effect<ReadonlyArray<InUse>>
}>()("sluice/policy/MemoryLimits") {}

/** The file in which the book is kept, and which can be exchanged for another. */
const makeKeeper = Effect.fnUntraced(function*(book: UsageBook, first: string | undefined) {
  const scope = yield* Effect.scope
  let path: string | undefined
  let open: Scope.Closeable | undefined
  const keepIn = Effect.fnUntraced(function*(next: string | undefined) {
    if (next === path) return
    path = next
    if (open !== undefined) yield* Scope.close(open, Exit.void)
    open = undefined
    if (next !== undefined) yield* Scope.provide(UsageFile.keep(next, book), open = yield* Scope.fork(scope))
  }, Effect.uninterruptible)
  yield* keepIn(first)
  return keepIn
})

/** Makes the store. The file is read now, and written while the scope is open and when it closes. */
export const make = Effect.fnUntraced(function*(
  initial: LimitSet,
  options: Options = {}
): Effect.fn.Return<MemoryLimits["Service"], never, Scope.Scope> {
  const clock = yield* Clock.Clock
  const room = options.remember ?? 65_536
  const book = new UsageBook(room, () => clock.currentTimeMillisUnsafe())
  const keepIn = yield* makeKeeper(book, options.stateFile)
  const accounts = new LimitAccounts(initial, room, (holder, limits) => new LimitAccount(holder, limits, clock, book))
  const watchers = new Set<(countsStrangers: boolean) => void>()

  const begin = (who: Who, exhausted: Exhausted, isStranger: boolean) =>
    Effect.suspend(() => {
      const session = new LimitSession(accounts, who, exhausted)
      const problem = session.begin(isStranger)
      return problem === undefined ? Effect.succeed(session) : Effect.fail(problem)
    })

  return {
    admit: (who, exhausted) => begin(who, exhausted, false),
    meet: (client, exhausted) => begin({ client }, exhausted, true),
    replace: (next) =>
      Effect.sync(() => {
        accounts.replace(next)
        for (const tell of watchers) tell(accounts.countsStrangers)
      }),
    keepIn,
    watch: (tell) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          watchers.add(tell)
          tell(accounts.countsStrangers)
        }),
        () => Effect.sync(() => watchers.delete(tell))
      ),
    list: Effect.sync(() =>
      [...accounts.all.values()].map(({ connections, deviceCount, holder, limits }) => ({
        holder,
        limits,
        connections,
        devices: deviceCount
      }))
    )
  }
})

/** The store with its own service, for who reloads. */
export const layer = (limits: LimitSet, options?: Options): Layer.Layer<LimitStore | MemoryLimits> =>
  Layer.effectContext(
    Effect.map(make(limits, options), (store) => Context.make(LimitStore, store).pipe(Context.add(MemoryLimits, store)))
  )
