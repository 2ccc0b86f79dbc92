/** What rules would have done that are only watched: counted, and told at most once a second for each. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import type * as Scope from "effect/Scope"
import type { AccessRequest } from "./AccessPolicy.ts"
import type { Rule } from "./Rule.ts"
import { nameOf, type RuleEngine } from "./RuleEngine.ts"

/** One rule that is watched. */
class Watched {
  readonly name: string
  readonly would: string
  /** Requests that it matched. */
  count = 0
  /** Of those, how many no line has told of. */
  untold = 0
  last: AccessRequest | undefined = undefined
  /** Whether a line was written in the last second. */
  isQuiet = false
  /** A request is judged several times: as it was sent, and with each address. */
  readonly seen = new WeakSet<AccessRequest>()

  constructor(rule: Rule, index: number) {
    this.name = nameOf(rule, index)
    this.would = rule.via === undefined ? rule.action : `${rule.action} via ${rule.via}`
  }
}

const tell = (watched: Watched): Effect.Effect<void> =>
  Effect.suspend(() => {
    const { last, name, untold, would } = watched
    watched.untold = 0
    return Effect.logInfo("shadow rule matched", {
      rule: name,
      would,
      count: untold,
      ...last?.user !== undefined && { user: last.user },
      ...last?.client !== undefined && { client: NetAddress.formatInet(last.client) },
      ...last !== undefined && { destination: Host.formatHostPort(last.destination) }
    })
  })

export interface ShadowLog {
  /** Some of the rules have matched a request, by their numbers. */
  readonly saw: (request: AccessRequest, rules: ReadonlyArray<number>) => Effect.Effect<void>
  readonly counts: () => ReadonlyMap<string, number>
}

/** For the rules of an engine, until the scope closes. A line has the request that came last, and how many there were. */
export const make = (engine: RuleEngine, scope: Scope.Scope): ShadowLog => {
  const watched = new Map<number, Watched>()
  for (const [index, rule] of engine.rules.entries()) {
    if (rule.shadow === true) watched.set(index, new Watched(rule, index))
  }

  /** At once, and then every second as long as there is something to tell. */
  const tellNow: (rule: Watched) => Effect.Effect<void> = Effect.fnUntraced(function*(rule) {
    rule.isQuiet = true
    yield* tell(rule)
    yield* Effect.forkIn(
      Effect.delay(
        Effect.suspend(() => {
          rule.isQuiet = false
          return rule.untold === 0 ? Effect.void : tellNow(rule)
        }),
        "1 second"
      ),
      scope
    )
  })

  const sawOne = (request: AccessRequest, index: number): Effect.Effect<void> => {
    const rule = watched.get(index)
    if (rule === undefined || rule.seen.has(request)) return Effect.void
    rule.seen.add(request)
    rule.count++
    rule.untold++
    rule.last = request
    return rule.isQuiet ? Effect.void : tellNow(rule)
  }

  return {
    saw: (request, rules) => Effect.forEach(rules, (index) => sawOne(request, index), { discard: true }),
    counts: () => new Map([...watched.values()].map(({ count, name }) => [name, count]))
  }
}
