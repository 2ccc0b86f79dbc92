/** One check, within its limits: whatever happens in it, there is a finding. */
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { ProxyError } from "../client/ProxyError.ts"
import { fail, type Finding, type Found, named, skipped } from "./Finding.ts"
import type { Ground } from "./Ground.ts"
import type { Proxy } from "./Proxy.ts"
import { describe } from "./Trouble.ts"

/** What a check works with. */
export interface Probing {
  readonly proxy: Proxy
  readonly ground: Ground
  /** Of each check. */
  readonly timeout: Duration.Duration
}

/** What it has opened is closed when it ends. */
export const run = (
  name: string,
  timeout: Duration.Duration,
  check: Effect.Effect<Found, ProxyError, Scope.Scope>,
  late: Found = fail(`nothing within ${Duration.format(timeout)}`)
): Effect.Effect<Finding> =>
  Effect.scoped(check).pipe(
    Effect.catch((error) =>
      Effect.succeed(error._tag === "Unsendable" ? skipped("SOCKS4 can't ask for it") : fail(describe(error)))
    ),
    Effect.timeoutOrElse({ duration: timeout, orElse: () => Effect.succeed(late) }),
    Effect.map((found) => named(name, found))
  )

export const skip = (why: string, names: ReadonlyArray<string>): ReadonlyArray<Finding> =>
  names.map((name) => named(name, skipped(why)))
