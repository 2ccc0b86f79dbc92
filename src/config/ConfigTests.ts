/** Runs the `tests:` of a configuration. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as Result from "effect/Result"
import type { StoredUser } from "../policy/UserStore.ts"
import type { Loaded } from "./ConfigFile.ts"
import { escape, quote } from "./Escape.ts"
import * as Judge from "./Judge.ts"
import * as LoginJudge from "./LoginJudge.ts"
import { hint } from "./Nearest.ts"
import type { Settings } from "./Settings.ts"
import { type Expectation, meets, type TestEntry } from "./TestConfig.ts"
import * as Visitor from "./Visitor.ts"

const wanted = ({ action, words }: Expectation): string => words === undefined ? action : `${action} ${words}`

/** What is wrong with the outcome of one test; `undefined` when it is as expected. */
const run = Effect.fnUntraced(function*(
  loaded: Loaded,
  settings: Settings,
  users: ReadonlyArray<StoredUser>,
  judge: Judge.Judge,
  test: TestEntry,
  now: number
) {
  const { at = now, connect: destination, expect, resolvesTo, user, ...circumstances } = test
  const visitor = user === undefined ? Result.succeed(Visitor.nobody) : Visitor.fromName(loaded, settings, users, user)
  /** That somebody can't be is a mistake of the test, unless it is what is tested. */
  const nobody = (why: string) => meets(expect, "deny", LoginJudge.format(why)) ? undefined : why
  if (Result.isFailure(visitor)) return nobody(visitor.failure)
  const { name, user: known } = visitor.success
  // Who else may log in is not known where a service decides, nor where nobody has to.
  if (name !== undefined && known === undefined && users.length > 0 && loaded.config.auth === undefined) {
    return nobody(`there is no user ${quote(name)}${hint(name, users.map((user) => user.name))}`)
  }
  const request = Visitor.requestOf(visitor.success, settings, { ...circumstances, destination })
  // Who is nobody in particular stands for the rules alone.
  const refused = known && LoginJudge.objection(loaded, settings, visitor.success, circumstances, at)
  const judgement: Judge.Judgement = refused === undefined
    ? yield* judge.judge(request, resolvesTo, at)
    : { action: "deny", words: LoginJudge.format(refused), reply: 1 }
  if (judgement.action === "undecided") {
    return `${Host.formatHostPort(destination)} is undecided: a rule ${judgement.words}; add resolvesTo: [ADDRESS]`
  }
  return meets(expect, judgement.action, judgement.words)
    ? undefined
    : `expected ${wanted(expect)}, but ${Host.formatHostPort(destination)} is ${Judge.format(judgement)}`
})

/**
 * A line for each test that fails: `sluice.yaml:40:5 tests[0]: expected deny, but example.com:443 is allowed by rule 3`.
 * `users` are all that there are: those that tests name have their groups from there.
 */
export const failures = Effect.fn("ConfigTests.failures")(function*(
  loaded: Loaded,
  settings: Settings,
  users: ReadonlyArray<StoredUser>,
  now: number
) {
  const { tests } = loaded.config
  // Who has none needs no judge.
  if (tests.length === 0) return []
  const judge = yield* Judge.make(loaded, settings)
  const problems = yield* Effect.forEach(tests, (test) => run(loaded, settings, users, judge, test, now))
  return problems.flatMap((problem, index) =>
    problem === undefined ? [] : [`${loaded.sourceOf(["tests", index])}: ${escape(problem)}`]
  )
}, Effect.scoped)
