/** Sets of rules, as bits: a thousand rules are 32 words, which are cut with each other faster than one rule is asked. */

/** A bit for each rule. */
export class RuleBits {
  readonly words: Uint32Array

  constructor(size: number) {
    this.words = new Uint32Array(Math.ceil(size / 32))
  }

  add(index: number): void {
    this.words[index >> 5] = (this.words[index >> 5] ?? 0) | 1 << (index & 31)
  }

  /** Takes on what another set is. */
  set({ words }: RuleBits): void {
    this.words.set(words)
  }

  join({ words }: RuleBits): void {
    for (let word = 0; word < words.length; word++) this.words[word] = (this.words[word] ?? 0) | (words[word] ?? 0)
  }

  keep({ words }: RuleBits): void {
    for (let word = 0; word < words.length; word++) this.words[word] = (this.words[word] ?? 0) & (words[word] ?? 0)
  }

  drop({ words }: RuleBits): void {
    for (let word = 0; word < words.length; word++) this.words[word] = (this.words[word] ?? 0) & ~(words[word] ?? 0)
  }

  /** The first from `index` on; -1 when there is none. */
  next(index: number): number {
    let at = index >> 5
    let word = (this.words[at] ?? 0) & -1 << (index & 31)
    while (word === 0) {
      if (++at >= this.words.length) return -1
      word = this.words[at] ?? 0
    }
    return 32 * at + 31 - Math.clz32(word & -word)
  }
}

/** The rules that name something. */
export class Holders {
  private readonly size: number
  private readonly few: Array<number> = []
  /** What many rules name is cheaper to add by the word. */
  private many: RuleBits | undefined = undefined

  constructor(size: number) {
    this.size = size
  }

  add(index: number): void {
    if (this.many !== undefined) return this.many.add(index)
    this.few.push(index)
    if (32 * this.few.length <= this.size) return
    this.many = new RuleBits(this.size)
    for (const known of this.few) this.many.add(known)
  }

  addTo(into: RuleBits): void {
    if (this.many !== undefined) into.join(this.many)
    else for (const index of this.few) into.add(index)
  }
}

/** The holders of each of some things, which are made as they are asked for. */
export class HolderMap<K> extends Map<K, Holders> {
  /** Adds a rule to those that name a thing; `onNew` is called where it is the first. */
  hold(key: K, index: number, size: number, onNew?: (holders: Holders) => void): void {
    const known = this.get(key)
    const holders = known ?? new Holders(size)
    holders.add(index)
    if (known !== undefined) return
    this.set(key, holders)
    onNew?.(holders)
  }
}
