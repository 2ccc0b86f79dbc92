/**
 * Rules in their order: the first that matches decides, and else the default.
 *
 * A name is judged before it is looked up, as far as that goes. Rules that would match but for the address, which is not
 * known yet, are passed over then; whoever asks learns that there were some.
 */
import type * as NetAddress from "effect/net/NetAddress"
import type { AccessRequest, Verdict } from "./AccessPolicy.ts"
import type * as AddressWords from "./AddressWords.ts"
import { type Answer, type Check, compile as compileConditions, Facts, Targets } from "./Conditions.ts"
import type { Conditions, Rule } from "./Rule.ts"
import { RuleIndex } from "./RuleIndex.ts"

/** What the rules say. */
export interface Decision {
  readonly action: Rule["action"]
  /** What decided: `rule NAME`, `default deny`. */
  readonly rule: string
  /** The number of that rule, counted from 0; -1 for the default. */
  readonly index: number
  /** Whether a rule before it may match once the address is known. */
  readonly undecided: boolean
  /** How what is allowed is served: always the same object for the same rule. */
  readonly verdict: Verdict
  /** Of a denial: the reply of RFC 1928 §6. */
  readonly reply: number | undefined
  /** Whether it opens internal networks. */
  readonly internal: boolean
  /** The length of the narrowest network of its `to` that an address is in; -1 for none. */
  readonly named: (words: AddressWords.Words) => number
  /** Rules that would have decided, but are only there to be watched, by their numbers. */
  readonly shadows: ReadonlyArray<number>
}

/** What became of one rule. */
export interface Step {
  /** `rule NAME`. */
  readonly rule: string
  readonly index: number
  /** `watched` is a shadow rule that matches. What comes after a decision is `not reached`. */
  readonly outcome: "decides" | "watched" | "passed over" | "undecided" | "not reached"
  /** In words: `user ann is not bob`; empty where there is nothing to say. */
  readonly why: string
}

/** How a request is judged, or one address that it leads to. */
export interface Explanation {
  /** `undefined` for a name before it is looked up. */
  readonly address: NetAddress.IpAddress | undefined
  readonly steps: ReadonlyArray<Step>
  readonly decision: Decision
}

/** How a log names the rule of this number, counted from 0. */
export const nameOf = ({ name }: Rule, index: number): string => `rule ${name ?? index + 1}`

/** What an allowance says about how it is served; nothing that isn't said. */
const verdictOf = (rule: string, { egress, limits, log, proxyHeader, via }: Partial<Rule>): Verdict => ({
  rule,
  ...via !== undefined && { via },
  ...egress !== undefined && { egress },
  ...limits !== undefined && { limits },
  ...log !== undefined && { log },
  ...proxyHeader !== undefined && { proxyHeader }
})

const noShadows: ReadonlyArray<number> = []

/** The same where a rule before it waits for the address: no upstream gets the name as it is then. */
const undecidedOf = (decision: Decision): Decision => ({
  ...decision,
  undecided: true,
  verdict: decision.action === "allow" ? { ...decision.verdict, undecided: true } : { undecided: true }
})

/** What is asked of the destination. */
const aboutTarget = ({ ports, to }: Conditions): boolean => ports !== undefined || to !== undefined

class CompiledRule {
  readonly rule: Rule
  readonly label: string
  readonly decided: Decision
  readonly undecided: Decision
  /** Whether it looks at where a request goes. */
  readonly looksAtTarget: boolean
  private readonly checks: ReadonlyArray<Check>
  private readonly exceptions: ReadonlyArray<Check>

  constructor(rule: Rule, index: number) {
    this.rule = rule
    this.looksAtTarget = aboutTarget(rule.conditions) || aboutTarget(rule.not ?? {})
    this.label = nameOf(rule, index)
    // Whatever an address may lead to counts where that denies.
    const denies = rule.action === "deny"
    this.checks = compileConditions(rule.conditions, denies)
    this.exceptions = compileConditions(rule.not ?? {}, !denies)
    const to = denies || rule.conditions.to === undefined ? undefined : new Targets(rule.conditions.to)
    this.decided = {
      action: rule.action,
      rule: this.label,
      index,
      undecided: false,
      verdict: verdictOf(this.label, rule),
      reply: rule.reply,
      internal: rule.internal === true,
      named: (words) => to === undefined ? -1 : to.longest(words),
      shadows: noShadows
    }
    this.undecided = undecidedOf(this.decided)
  }

  matches(facts: Facts): Answer {
    let answer: Answer = "yes"
    for (const { holds } of this.checks) {
      const held = holds(facts)
      if (held === "no") return "no"
      if (held === "unknown") answer = "unknown"
    }
    for (const { holds } of this.exceptions) {
      const held = holds(facts)
      if (held === "yes") return "no"
      if (held === "unknown") answer = "unknown"
    }
    return answer
  }

  /** Whether it matches wherever that goes; one that looks at the target, whether it may match somewhere. */
  matchesCommand(facts: Facts): boolean {
    if (!this.looksAtTarget) return this.matches(facts) === "yes"
    const { ports: _, to: __, ...others } = this.rule.conditions
    return compileConditions(others, false).every(({ holds }) => holds(facts) === "yes")
  }

  /** Why it does not match, or not yet. */
  why(facts: Facts): string {
    const failing = this.checks.find(({ holds }) => holds(facts) === "no")
    if (failing !== undefined) return failing.why(facts)
    const exception = this.exceptions.find(({ holds }) => holds(facts) === "yes")
    if (exception !== undefined) return `${exception.subject(facts)} is excepted by not`
    const waiting = [...this.checks, ...this.exceptions].find(({ holds }) => holds(facts) === "unknown")
    return waiting === undefined ? "" : `the address of ${waiting.subject(facts)} is not known yet`
  }
}

export class RuleEngine {
  /** As they were given. */
  readonly rules: ReadonlyArray<Rule>
  private readonly compiled: ReadonlyArray<CompiledRule>
  private readonly index: RuleIndex
  private readonly fallback: Decision
  private readonly undecidedFallback: Decision

  constructor(rules: ReadonlyArray<Rule>, defaultAction: Rule["action"]) {
    this.rules = rules
    this.compiled = rules.map((rule, index) => new CompiledRule(rule, index))
    this.index = new RuleIndex(rules)
    const rule = `default ${defaultAction}`
    this.fallback = {
      action: defaultAction,
      rule,
      index: -1,
      undecided: false,
      verdict: verdictOf(rule, {}),
      reply: undefined,
      internal: false,
      named: () => -1,
      shadows: noShadows
    }
    this.undecidedFallback = undecidedOf(this.fallback)
  }

  /**
   * Judges a request, with the address that would be dialled for it once that is known; `now` is in milliseconds. An
   * address in the request itself needs no other.
   */
  decide(request: AccessRequest, address: NetAddress.IpAddress | undefined, now: number): Decision {
    const { compiled, index } = this
    const facts = new Facts(request, address, now)
    let undecided = false
    const shadows: Array<number> = []
    let found: CompiledRule | undefined
    index.narrow(facts)
    for (let at = index.next(0); at !== -1; at = index.next(at + 1)) {
      const rule = compiled[at]
      const answer = rule?.matches(facts)
      if (rule === undefined || answer === "no") continue
      if (rule.rule.shadow === true) {
        // Whether it is come to at all must be certain as well.
        if (answer === "yes" && !undecided) shadows.push(at)
      } else if (answer === "yes") {
        found = rule
        break
      } else if (!undecided) {
        undecided = true
        index.waitNoMore()
      }
    }
    const { decided: certain, undecided: open } = found ?? { decided: this.fallback, undecided: this.undecidedFallback }
    const decision = undecided ? open : certain
    return shadows.length === 0 ? decision : { ...decision, shadows }
  }

  /**
   * What becomes of a command wherever that goes: BIND and UDP ASSOCIATE open a port before they say where it does. A
   * denial is one that no destination could get by; `undefined` where it hangs on the destination how it is allowed.
   */
  decideCommand(request: AccessRequest, now: number): Decision | undefined {
    const facts = new Facts(request, undefined, now)
    const found = this.compiled.find((rule) => {
      if (rule.rule.shadow === true || (rule.rule.action === "deny" && rule.looksAtTarget)) return false
      return rule.matchesCommand(facts)
    })
    return found?.looksAtTarget === true ? undefined : found?.decided ?? this.fallback
  }

  /** The same for people: each rule, and what became of it. */
  private explainOne(
    request: AccessRequest,
    address: NetAddress.IpAddress | undefined,
    now: number
  ): Explanation {
    const decision = this.decide(request, address, now)
    const facts = new Facts(request, address, now)
    const outcomeOf = ({ rule: { shadow } }: CompiledRule, index: number, answer: Answer): Step["outcome"] => {
      if (index === decision.index) return "decides"
      if (answer === "no") return "passed over"
      return answer === "unknown" ? "undecided" : shadow === true ? "watched" : "not reached"
    }
    const steps = this.compiled.map((rule, index): Step => {
      const { label } = rule
      if (decision.index !== -1 && index > decision.index) {
        return { rule: label, index, outcome: "not reached", why: "" }
      }
      return { rule: label, index, outcome: outcomeOf(rule, index, rule.matches(facts)), why: rule.why(facts) }
    })
    return { address: facts.ip, steps, decision }
  }

  /**
   * How a request is judged: for a name first as it is, then each of the addresses that it leads to. Costs more than to
   * decide.
   */
  explain(
    request: AccessRequest,
    addresses: ReadonlyArray<NetAddress.IpAddress>,
    now: number
  ): ReadonlyArray<Explanation> {
    const asSent = this.explainOne(request, undefined, now)
    return asSent.address === undefined
      ? [asSent, ...addresses.map((address) => this.explainOne(request, address, now))]
      : [asSent]
  }
}

/** Makes an engine of rules, of which the first comes first, and what holds where none of them matches. */
export const compile = (rules: ReadonlyArray<Rule>, defaultAction: Rule["action"]): RuleEngine =>
  new RuleEngine(rules, defaultAction)
