/** The proxy that settings and a configuration file describe, and how it takes others while it serves. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Exit from "effect/Exit"
import * as Layer from "effect/Layer"
import * as Scope from "effect/Scope"
import * as Stream from "effect/Stream"
import { LimitStore } from "../policy/LimitStore.ts"
import type { UsersFileError } from "../policy/UsersFile.ts"
import { ConnectionLog } from "../server/ConnectionLog.ts"
import type { Sessions } from "../server/Sessions.ts"
import { SocksServer } from "../server/SocksServer.ts"
import * as NodeDatagrams from "../transport/NodeDatagrams.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { type ListenError, Transport } from "../transport/Transport.ts"
import * as Counters from "./Counters.ts"
import * as Deciders from "./Deciders.ts"
import type { Effective } from "./Flags.ts"
import * as Heap from "./Heap.ts"
import * as Live from "./Live.ts"

/** A configuration that was made ready to serve by, and is not in force yet. */
export interface Prepared {
  /**
   * Goes on by it: for new clients at once, and those whom it would not let in any more, or not to where they are, are
   * ended. When a listener can't be had, all stays as it was. Tells how many were ended.
   */
  readonly commit: Effect.Effect<number, ListenError>
  /** Forgets it. */
  readonly abort: Effect.Effect<void>
}

/** Takes another configuration while the proxy serves. */
export class Reload extends Context.Service<Reload, {
  readonly prepare: (effective: Effective) => Effect.Effect<Prepared, UsersFileError>
}>()("sluice/cli/Reload") {}

// Without a configuration file there are none.
const limitsLayer = ({ loaded }: Effective, counters: Counters.Counters | undefined) =>
  loaded === undefined || counters === undefined ? Layer.empty : Layer.succeed(LimitStore, counters.limits)

const make = Effect.fnUntraced(function*(first: Effective, counters: Counters.Counters | undefined) {
  const memory = { bans: counters?.bans, epochs: counters?.epochs }
  const transport = yield* Transport
  const generationOf = (effective: Effective) =>
    Effect.provideService(Live.generation(Deciders.make(effective, memory)), Transport, transport)
  const live = yield* Live.Live.make(yield* generationOf(first))
  const built = yield* Layer.build(
    SocksServer.layer(first.settings).pipe(
      Layer.provide([
        Layer.succeedContext(live.services),
        limitsLayer(first, counters),
        ConnectionLog.layer,
        NodeDatagrams.layer()
      ])
    )
  )
  const server = Context.get(built, SocksServer)
  /** Users come and go in the middle of a generation too. */
  const watch = ({ deciders, scope }: Live.Generation) =>
    Effect.forkIn(Stream.runForEach(deciders.changes, () => server.rejudge), scope)
  yield* watch(live.generation)

  const prepare = Effect.fn("Reload.prepare")(function*(effective: Effective) {
    const next = yield* generationOf(effective)
    const abort = Scope.close(next.scope, Exit.void)
    const commit = Effect.gen(function*() {
      yield* Effect.onError(server.reconfigure(effective.settings), () => abort)
      yield* live.replace(next)
      yield* watch(next)
      if (effective.loaded !== undefined) yield* counters?.replace(effective.loaded.config) ?? Effect.void
      return yield* server.rejudge
    })
    return { abort, commit: Effect.uninterruptible(commit) }
  })
  return Context.add(built, Reload, { prepare })
})

/** What is not the configuration's to say. */
export interface Surroundings {
  readonly transport?: NodeTransport.Options
  /** What is remembered of clients. Default: this process does, where there is anything to remember. */
  readonly counters?: Effect.Effect<Counters.Counters, never, Scope.Scope>
}

const countersOf = Effect.fnUntraced(function*(effective: Effective, { counters }: Surroundings) {
  const counted = yield* Counters.countedOf(effective)
  return counted === undefined ? undefined : yield* counters ?? Counters.own(counted)
})

/** Listens while the layer's scope is open. */
export const layer = (
  effective: Effective,
  surroundings: Surroundings = {}
): Layer.Layer<SocksServer | Sessions | Reload, ListenError | UsersFileError> =>
  Layer.effectContext(
    Effect.flatMap(countersOf(effective, surroundings), (counters) => make(effective, counters))
  ).pipe(
    Layer.provide(NodeTransport.layer(surroundings.transport)),
    Layer.provide(Layer.effectDiscard(Heap.tune))
  )
