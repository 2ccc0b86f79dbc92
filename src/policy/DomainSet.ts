/**
 * A set of domains that may be as long as a block list: names that are in it, and suffixes that stand for a name and all
 * below it.
 *
 * The names lie behind each other in one buffer, each after its length, a suffix with its dot. An open hash table leads
 * to them: for each place 32 bits of where the name is, and 16 bits of its hash, so that a name that isn't there is
 * seldom looked for among the names, and one that is there is compared with all of it. A million names of a block list
 * take 33 bytes each. Hashes are made from the end of a name on: one pass makes those of all its suffixes.
 */
import * as KeyHash from "../transport/KeyHash.ts"
import type { Domain } from "./Domain.ts"

/** Differs between processes, so that no list can be made to collide. */
const seed = Math.floor(Math.random() * 2 ** 32)
const prime = 0x01000193
const dot = 46

/** Places of the table for each name. */
const slack = 1.5

/** Names that are put in place before others get their turn. */
const turn = 16_384

interface Table {
  readonly names: Uint8Array
  readonly offsets: Uint32Array
  /** 0 where there is nothing. */
  readonly tags: Uint16Array
}

const makeTable = (names: Uint8Array, size: number): Table => {
  const places = Math.ceil(slack * size) + 1
  return { names, offsets: new Uint32Array(places), tags: new Uint16Array(places) }
}

const tagOf = (hash: number): number => hash & 0xffff || 1

/** Finds the place of a name: where it is, or the empty one where it would be. `isHere` compares it with a name there. */
const placeOf = ({ offsets, tags }: Table, hash: number, isHere: (offset: number) => boolean): number => {
  const tag = tagOf(hash)
  let place = Math.floor(hash / 2 ** 32 * tags.length)
  while (tags[place] !== 0 && !(tags[place] === tag && isHere(offsets[place] ?? 0))) {
    if (++place === tags.length) place = 0
  }
  return place
}

export class DomainSet {
  /** How many domains there are. */
  readonly size: number
  private readonly table: Table
  private readonly hasSuffixes: boolean

  private constructor(table: Table, size: number, hasSuffixes: boolean) {
    this.table = table
    this.size = size
    this.hasSuffixes = hasSuffixes
  }

  /** @internal */
  static make(table: Table, size: number, hasSuffixes: boolean): DomainSet {
    return new DomainSet(table, size, hasSuffixes)
  }

  /** Of names and suffixes; globs are no matter of it. */
  static of(domains: Iterable<Domain>): DomainSet {
    const builder = new DomainSetBuilder()
    for (const { kind, text } of domains) builder.add(text, kind === "suffix")
    const steps = builder.steps()
    while (true) {
      const { done, value } = steps.next()
      if (done === true) return value
    }
  }

  /** Whether a name, lower case and without a dot at its end, is in the set. */
  has(name: string): boolean {
    return this.find(name) !== undefined
  }

  /** What a name is in the set by: `db.corp` or `.corp`. */
  find(name: string): string | undefined {
    if (this.size === 0) return undefined
    let hash = seed
    for (let at = name.length - 1; at >= 0; at--) {
      const code = name.charCodeAt(at)
      hash = Math.imul(hash ^ code, prime)
      if (code === dot && this.hasSuffixes && this.isThere(hash, name, at, false)) return name.slice(at)
    }
    if (this.isThere(hash, name, 0, false)) return name
    return this.hasSuffixes && this.isThere(Math.imul(hash ^ dot, prime), name, 0, true) ? `.${name}` : undefined
  }

  /** Whether the name from `start` on is there, behind a dot if it is to be. */
  private isThere(hash: number, name: string, start: number, behindDot: boolean): boolean {
    const { names, tags } = this.table
    const place = placeOf(this.table, KeyHash.mix(hash), (offset) => {
      const first = offset + 1 + Number(behindDot)
      if (names[offset] !== name.length - start + Number(behindDot)) return false
      if (behindDot && names[offset + 1] !== dot) return false
      for (let at = start; at < name.length; at++) {
        if (names[first + at - start] !== name.charCodeAt(at)) return false
      }
      return true
    })
    return tags[place] !== 0
  }
}

/** Takes domains in, and makes the set of them. For one set. */
export class DomainSetBuilder {
  private names = new Uint8Array(0)
  private end = 0
  private count = 0
  private hasSuffixes = false

  /** Adds a name of at most 253 characters, lower case, ASCII, without a dot at either end. */
  add(name: string, isSuffix: boolean): void {
    const length = name.length + Number(isSuffix)
    if (this.end + length >= this.names.length) this.grow()
    this.names[this.end++] = length
    if (isSuffix) this.names[this.end++] = dot
    for (let at = 0; at < name.length; at++) this.names[this.end++] = name.charCodeAt(at)
    this.hasSuffixes ||= isSuffix
    this.count++
  }

  private grow(): void {
    const names = new Uint8Array(Math.max(256, 2 * this.names.length))
    names.set(this.names)
    this.names = names
  }

  /** Makes the set, in steps between which something else can be done: all at once a long list takes half a second. */
  *steps(): Generator<void, DomainSet> {
    const names = this.names.slice(0, this.end)
    const table = makeTable(names, this.count)
    // What is there twice is written over by the next ones.
    let end = 0
    let size = 0
    for (let start = 0, read = 0; start < names.length; read++) {
      const next = start + (names[start] ?? 0) + 1
      let hash = seed
      for (let at = next - 1; at > start; at--) hash = Math.imul(hash ^ (names[at] ?? 0), prime)
      const mixed = KeyHash.mix(hash)
      const place = placeOf(table, mixed, (offset) => {
        for (let at = 0; at < next - start; at++) if (names[offset + at] !== names[start + at]) return false
        return true
      })
      if (table.tags[place] === 0) {
        if (end < start) names.copyWithin(end, start, next)
        table.tags[place] = tagOf(mixed)
        table.offsets[place] = end
        end += next - start
        size++
      }
      start = next
      if (read % turn === turn - 1) yield
    }
    return DomainSet.make(
      end === names.length ? table : { ...table, names: names.slice(0, end) },
      size,
      this.hasSuffixes
    )
  }
}
