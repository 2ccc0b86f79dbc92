/**
 * `serve` with several workers: processes that share the ports.
 *
 * Where Node can share a port (`reusePort`), each worker has a listening socket of its own, and the system spreads the
 * clients. Closing such a socket resets the clients that wait in it: so this process keeps a copy of each, and a worker
 * that takes another's place goes on with its socket. Elsewhere this process accepts, and `node:cluster` deals the
 * clients out.
 */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as NetAddress from "effect/net/NetAddress"
import type * as Settings from "../config/Settings.ts"
import { isIpv6Only } from "../server/SocksServer.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import type { Accept } from "../transport/Transport.ts"
import { failed } from "./CommandError.ts"
import * as Signals from "./Signals.ts"
import * as WorkerPool from "./WorkerPool.ts"

/** It came with Node 23.1; of the systems that have it, Linux spreads clients evenly. */
const canSharePorts = (): boolean => {
  const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)
  return process.platform === "linux" && (major > 23 || (major === 23 && minor >= 1))
}

const nobody: Accept = { admit: () => false, accept: () => {}, failed: () => {} }

/**
 * Listens for a moment, and lets go. It finds ports for 0, and an address that can't be had: among sockets that share
 * a port the system would not tell whether somebody else's is there.
 */
const tryOut = (listen: ReadonlyArray<NetAddress.InetAddress>) => {
  const transport = NodeTransport.make()
  return Effect.scoped(Effect.forEach(listen, (address) =>
    Effect.map(
      transport.listen(address, nobody, { ipv6Only: isIpv6Only(address, listen) }),
      (listener) => listener.address
    )))
}

/** Runs until a signal ends it. Returns how many clients were turned away. */
export const run = Effect.fnUntraced(function*(settings: Settings.Settings) {
  const { default: cluster } = yield* Effect.promise(() => import("node:cluster"))
  if (!cluster.isPrimary) {
    return yield* failed(
      "--workers: another cluster runs this process as its worker; leave the number to that, or to us"
    )
  }
  cluster.schedulingPolicy = cluster.SCHED_RR
  const termination = yield* Signals.termination
  const hangup = yield* Signals.hangup
  const listen = yield* tryOut(settings.listen)

  const pool = yield* WorkerPool.make(cluster, {
    workers: settings.workers,
    drainTimeout: settings.drainTimeout,
    serve: {
      _tag: "Serve",
      listen,
      reusePort: canSharePorts(),
      ...settings.maxConnections !== undefined &&
        { maxConnections: Math.ceil(settings.maxConnections / settings.workers) }
    }
  })
  for (const address of listen) yield* Console.log(`listening on socks5://${NetAddress.formatInet(address)}`)
  const restart = Effect.logInfo("restarting the workers, one after the other").pipe(
    Effect.andThen(pool.restart),
    Effect.andThen(Effect.logInfo("restarted")),
    Effect.catch(({ message }) => Effect.logError("restart given up; who is not replaced goes on", { reason: message }))
  )
  const signal = yield* Effect.raceFirst(termination, Effect.forever(Effect.andThen(hangup, restart)))
  yield* Effect.annotateLogs(Effect.logInfo("stopping: waiting for connections to end"), { signal })
  return yield* pool.drain
})
