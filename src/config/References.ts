/** Names in a configuration that have to lead to something in it. */
import { direct } from "../client/UpstreamPools.ts"
import * as ReservedPlus from "../policy/ReservedPlus.ts"
import type { Config } from "./Config.ts"
import { quote } from "./Escape.ts"
import { hint } from "./Nearest.ts"
import type { Conditions } from "./RuleConfig.ts"
import type { Path } from "./Yaml.ts"

export interface Problem {
  readonly path: Path
  readonly message: string
}

/** `section` is where such a thing would be defined. */
const unknown = (what: string, name: string, names: ReadonlyArray<string>, section: string): string => {
  const near = hint(name, names)
  const known = names.length === 0 ? "" : `, or write one of ${names.slice(0, 8).join(", ")}`
  return `there is no ${what} ${quote(name)}${near === "" ? `; define it in ${section}${known}` : near}`
}

/** The places of what is there a second time. */
const repeated = (names: ReadonlyArray<string | undefined>, path: (index: number) => Path): ReadonlyArray<Problem> =>
  names.flatMap((name, index) =>
    name !== undefined && names.indexOf(name) < index
      ? [{ path: path(index), message: `${quote(name)} is there twice; choose another name` }]
      : []
  )

/** Clients have addresses and no names: what is no network must be a list. */
const inConditions = (conditions: Conditions, lists: ReadonlyArray<string>, path: Path): ReadonlyArray<Problem> =>
  (conditions.clients ?? []).flatMap(({ entry, text }, index) =>
    entry._tag === "IpNetwork" || lists.includes(text)
      ? []
      : [{ path: [...path, "clients", index], message: unknown("network or list", text, lists, "lists") }]
  )

/** All that lead nowhere. */
export const problems = (config: Config): ReadonlyArray<Problem> => {
  const lists = Object.keys(config.lists)
  const pools = Object.keys(config.upstreams)
  const classes = [...config.limits.classes?.keys() ?? []]
  const inClasses = (name: string | undefined, path: Path): ReadonlyArray<Problem> =>
    name === undefined || classes.includes(name)
      ? []
      : [{ path, message: unknown("class of limits", name, classes, "limits.classes") }]
  const inPools = (name: string | undefined, path: Path, others: ReadonlyArray<string>): ReadonlyArray<Problem> =>
    name === undefined || pools.includes(name) || others.includes(name)
      ? []
      : [{ path, message: unknown("pool of upstreams", name, [...pools, ...others], "upstreams") }]

  const { rules, settings: { egressBy, user = [] }, userOptions, users = [] } = config
  const plusIsReserved = ReservedPlus.isReserved(userOptions, egressBy)
  return [
    ...repeated(users.map(({ name }) => name), (index) => ["users", index, "name"]),
    ...users.flatMap(({ name }, index) =>
      user.some((plain) => plain.name === name)
        ? [{ path: ["users", index, "name"], message: `${quote(name)} is taken by user; remove one of them` }]
        : []
    ),
    ...users.flatMap(({ name }, index) => {
      const problem = plusIsReserved ? ReservedPlus.problem(name) : undefined
      return problem === undefined
        ? []
        : [{ path: ["users", index, "name"], message: `${problem}; choose another name` }]
    }),
    ...users.flatMap(({ limits }, index) => inClasses(limits, ["users", index, "limits"])),
    ...Object.entries(userOptions).flatMap(([option, declared]) =>
      declared.kind === "pool"
        ? Object.entries(declared.values).flatMap(([word, pool]) =>
          inPools(pool, ["userOptions", option, "values", word], [])
        )
        : []
    ),
    ...repeated(rules.map(({ name }) => name), (index) => ["rules", index, "name"]),
    ...rules.flatMap(({ conditions, limits, not = {}, via }, index) =>
      [
        inConditions(conditions, lists, ["rules", index]),
        inConditions(not, lists, ["rules", index, "not"]),
        inPools(via, ["rules", index, "via"], [direct]),
        inClasses(limits, ["rules", index, "limits"])
      ].flat()
    )
  ]
}
