/** What is taken for a domain, and was hardly meant as one: the name of a list, or of a file. */
import type { Loaded } from "../config/ConfigFile.ts"
import { quote } from "../config/Escape.ts"
import { nearest } from "../config/Nearest.ts"
import type { Entry } from "../policy/List.ts"

type Lines = ReadonlyArray<string>

const isName = (entry: Entry): boolean => entry._tag === "Domain" && entry.kind === "exact"

/** Of a list in a rule, with a mistake in it. */
const inRules = ({ config: { rules }, lists, sourceOf }: Loaded): Lines =>
  rules.flatMap(({ conditions, not }, index) =>
    ([[[], conditions], [["not"], not]] as const).flatMap(([within, { to = [] } = {}]) =>
      to.flatMap(({ entry, text }, at) => {
        const isLone = isName(entry) && !text.includes(".") && !lists.has(text)
        const meant = isLone ? nearest(text, lists.keys()) : undefined
        if (meant === undefined) return []
        const place = sourceOf(["rules", index, ...within, "to", at])
        return [`${place}: ${quote(text)} is taken for a domain; did you mean the list ${meant}?`]
      })
    )
  )

/** No top level domain is called so. */
const isFile = (text: string): boolean => /\.(?:txt|list|lst|hosts|conf|csv|ya?ml|json)$/.test(text)

/** Of a file in the place of what is in it, or of a list in another one. */
const inLists = ({ config: { lists }, sourceOf }: Loaded): Lines =>
  Object.entries(lists).flatMap(([name, list]) =>
    "file" in list ? [] : list.flatMap((entry, at) => {
      if (entry._tag !== "Domain" || !isName(entry)) return []
      const { text } = entry
      const why = isFile(text)
        ? `; to read a file write ${name}: { file: ${text} }`
        : Object.keys(lists).some((other) => other.toLowerCase() === text)
        ? ", since lists hold no lists; name both where they are used"
        : undefined
      return why === undefined ? [] : [`${sourceOf(["lists", name, at])}: ${quote(text)} is taken for a domain${why}`]
    })
  )

export const find = (loaded: Loaded): Lines => [...inRules(loaded), ...inLists(loaded)]
