/**
 * Which of many rules name an address or a name: inline, or by a list. What lists have in them lies in one index with
 * what the rules name themselves, and leads to the rules that name the list; only long lists are asked one by one.
 */
import * as IpNetwork from "effect/net/IpNetwork"
import type * as AddressWords from "./AddressWords.ts"
import * as Domain from "./Domain.ts"
import type { Entry, List } from "./List.ts"
import { NetworkSet } from "./NetworkSet.ts"
import { HolderMap, type Holders, type RuleBits } from "./RuleBits.ts"

type Target = Entry | List

const put = <K, A>(map: Map<K, Array<A>>, key: K, item: A): void => {
  const known = map.get(key)
  if (known === undefined) map.set(key, [item])
  else known.push(item)
}

export interface Glob {
  readonly text: string
  readonly holders: Holders
}

const pieceAt = (text: string, at: number): number =>
  (text.charCodeAt(at) << 16) | (text.charCodeAt(at + 1) << 8) | text.charCodeAt(at + 2)

/** Three characters each that a name must have to match. */
const piecesOf = (glob: string): ReadonlyArray<number> =>
  glob.split(/[*?]/).flatMap((literal) =>
    Array.from({ length: Math.max(0, literal.length - 2) }, (_, at) => pieceAt(literal, at))
  )

/** Globs, each found by that piece of it that the fewest others have. */
export class Globs {
  private readonly byPiece = new Map<number, Array<Glob>>()
  private readonly others: Array<Glob> = []

  constructor(globs: ReadonlyArray<Glob>) {
    const counts = new Map<number, number>()
    const countOf = (piece: number): number => counts.get(piece) ?? 0
    for (const { text } of globs) {
      for (const piece of piecesOf(text)) counts.set(piece, countOf(piece) + 1)
    }
    for (const glob of globs) {
      const [first, ...rest] = piecesOf(glob.text)
      if (first === undefined) this.others.push(glob)
      else put(this.byPiece, rest.reduce((best, piece) => countOf(piece) < countOf(best) ? piece : best, first), glob)
    }
  }

  /** Adds the rules that have a glob for the name; or for another glob, taken for a name. */
  collect(name: string, into: RuleBits): void {
    for (const glob of this.others) this.tryOne(glob, name, into)
    if (this.byPiece.size === 0) return
    for (let at = 0; at + 2 < name.length; at++) {
      const globs = this.byPiece.get(pieceAt(name, at))
      if (globs !== undefined) { for (const glob of globs) this.tryOne(glob, name, into) }
    }
  }

  private tryOne({ holders, text }: Glob, name: string, into: RuleBits): void {
    if (Domain.globMatches(text, name)) holders.addTo(into)
  }
}

export class TargetIndex {
  private readonly networks = new NetworkSet()
  /** Of each network, by its place. */
  private readonly around: Array<Array<Holders>> = []
  private readonly names = new Map<string, Array<Holders>>()
  private readonly suffixes = new Map<string, Array<Holders>>()
  private readonly globs: Globs
  private readonly longLists: Array<readonly [list: List, holders: Holders]> = []
  private into: RuleBits | undefined = undefined
  private readonly visit = (place: number): void => {
    const { around, into } = this
    const holders = around[place]
    if (holders !== undefined && into !== undefined) { for (const holder of holders) holder.addTo(into) }
  }

  /** Of each rule its targets, if it has such a condition. */
  constructor(rules: ReadonlyArray<ReadonlyArray<Target> | undefined>) {
    const globs: Array<Glob> = []
    const place = (entry: Entry, holders: Holders): void => {
      if (entry._tag === "IpNetwork") (this.around[this.networks.add(entry)] ??= []).push(holders)
      else if (entry.kind === "glob") globs.push({ text: entry.text, holders })
      else put(entry.kind === "exact" ? this.names : this.suffixes, entry.text, holders)
    }
    const inline = new HolderMap<string>()
    const lists = new HolderMap<List>()
    for (const [index, items] of rules.entries()) {
      for (const item of items ?? []) {
        if (item._tag !== "List") {
          const text = item._tag === "Domain" ? Domain.format(item) : IpNetwork.format(item)
          inline.hold(text, index, rules.length, (holders) => place(item, holders))
        } else {
          lists.hold(item, index, rules.length, (holders) => {
            if (item.entries === undefined) this.longLists.push([item, holders])
            else for (const entry of item.entries) place(entry, holders)
          })
        }
      }
    }
    this.globs = new Globs(globs)
  }

  /** Adds the rules that have a network around the address. */
  collectAddress(words: AddressWords.Words, into: RuleBits): void {
    this.into = into
    this.networks.each(words, this.visit)
    for (const [{ networks }, holders] of this.longLists) if (networks.has(words)) holders.addTo(into)
  }

  /** Adds the rules that have a domain for the name. */
  collectName(name: string, into: RuleBits): void {
    const add = (holders: ReadonlyArray<Holders> | undefined): void => {
      if (holders !== undefined) { for (const holder of holders) holder.addTo(into) }
    }
    add(this.names.get(name))
    if (this.suffixes.size > 0) {
      add(this.suffixes.get(name))
      for (let dot = name.indexOf("."); dot !== -1; dot = name.indexOf(".", dot + 1)) {
        add(this.suffixes.get(name.slice(dot + 1)))
      }
    }
    this.globs.collect(name, into)
    for (const [list, holders] of this.longLists) if (list.hasName(name)) holders.addTo(into)
  }
}
