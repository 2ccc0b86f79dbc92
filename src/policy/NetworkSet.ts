/**
 * A set of IP networks that finds those around an address: a binary trie without nodes that have one way on only, in
 * typed arrays. An address passes as many nodes as networks nest around it and some forks, however many there are.
 */
import type * as IpNetwork from "effect/net/IpNetwork"
import * as AddressWords from "./AddressWords.ts"

const bitOf = (words: ArrayLike<number>, bit: number): number => (words[bit >> 5] ?? 0) >>> 31 - (bit & 31) & 1

/** Called with the place of a network in the order in which they were added, and the length of its prefix. */
type Visit = (place: number, bits: number) => void

/** The networks of one family. Node 0 is none; 1 is the root. */
class Trie {
  /** 32 bits each: 1 or 4. */
  private readonly width: number
  private words: Int32Array
  /** How many of a node's bits are those of every address below it. */
  private bits: Uint8Array
  /** Two of each node: where the next bit is 0, and where it is 1. */
  private children: Uint32Array
  /** The network of a node, counted from 1; 0 for a fork. */
  private places: Uint32Array
  private root = 0
  private nodes = 1

  constructor(width: number) {
    this.width = width
    this.words = new Int32Array(2 * width)
    this.bits = new Uint8Array(2)
    this.children = new Uint32Array(4)
    this.places = new Uint32Array(2)
  }

  private grow(): void {
    const size = 2 * this.bits.length
    const [words, bits, children, places] = [this.words, this.bits, this.children, this.places]
    this.words = new Int32Array(size * this.width)
    this.words.set(words)
    this.bits = new Uint8Array(size)
    this.bits.set(bits)
    this.children = new Uint32Array(2 * size)
    this.children.set(children)
    this.places = new Uint32Array(size)
    this.places.set(places)
  }

  private create(words: AddressWords.Words, bits: number): number {
    if (this.nodes === this.bits.length) this.grow()
    const node = this.nodes++
    this.words.set(words, node * this.width)
    this.bits[node] = bits
    return node
  }

  /** How many of its first bits an address has in common with a node, up to the node's own. */
  private common(node: number, words: AddressWords.Words): number {
    const bits = this.bits[node] ?? 0
    const start = node * this.width
    for (let index = 0; 32 * index < bits; index++) {
      const difference = (this.words[start + index] ?? 0) ^ (words[index] ?? 0)
      if (difference !== 0) return Math.min(bits, 32 * index + Math.clz32(difference))
    }
    return bits
  }

  private child(node: number, words: AddressWords.Words): number {
    return this.children[2 * node + bitOf(words, this.bits[node] ?? 0)] ?? 0
  }

  /** Puts a node where another one was. */
  private replace(parent: number, node: number, words: AddressWords.Words): void {
    if (parent === 0) this.root = node
    else this.children[2 * parent + bitOf(words, this.bits[parent] ?? 0)] = node
  }

  private nodeOf({ bits, words }: AddressWords.Prefix): number {
    let parent = 0
    let node = this.root
    while (node !== 0) {
      const shared = Math.min(bits, this.common(node, words))
      if (shared < (this.bits[node] ?? 0)) {
        const above = this.create(words, shared)
        const other = bitOf(this.words.subarray(node * this.width), shared)
        this.children[2 * above + other] = node
        this.replace(parent, above, words)
        if (shared === bits) return above
        parent = above
        break
      }
      if (shared === bits) return node
      parent = node
      node = this.child(node, words)
    }
    const leaf = this.create(words, bits)
    this.replace(parent, leaf, words)
    return leaf
  }

  /** The place that the network has: this one, or that of an equal one that is in already. */
  add(prefix: AddressWords.Prefix, place: number): number {
    const node = this.nodeOf(prefix)
    const known = this.places[node] ?? 0
    if (known !== 0) return known - 1
    this.places[node] = place + 1
    return place
  }

  /** Visits the networks that contain an address, the widest first. */
  each(words: AddressWords.Words, visit: Visit): void {
    let node = this.root
    while (node !== 0) {
      const bits = this.bits[node] ?? 0
      if (this.common(node, words) < bits) return
      const place = this.places[node] ?? 0
      if (place !== 0) visit(place - 1, bits)
      if (bits === 32 * this.width) return
      node = this.child(node, words)
    }
  }

  /** The length of the narrowest network around an address; -1 for none. */
  longest(words: AddressWords.Words): number {
    let longest = -1
    let node = this.root
    while (node !== 0) {
      const bits = this.bits[node] ?? 0
      if (this.common(node, words) < bits) return longest
      if (this.places[node] !== 0) longest = bits
      if (bits === 32 * this.width) return longest
      node = this.child(node, words)
    }
    return longest
  }
}

export class NetworkSet {
  private ipv4: Trie | undefined = undefined
  private ipv6: Trie | undefined = undefined
  private count = 0

  static of(networks: Iterable<IpNetwork.IpNetwork>): NetworkSet {
    const set = new NetworkSet()
    for (const network of networks) set.add(network)
    return set
  }

  /** How many there are. */
  get size(): number {
    return this.count
  }

  /** Returns its place in the order in which networks were added, counted from 0. Equal ones share the first one's. */
  add(network: IpNetwork.IpNetwork): number {
    const prefix = AddressWords.fromNetwork(network)
    const trie = prefix.words.length === 1 ? this.ipv4 ??= new Trie(1) : this.ipv6 ??= new Trie(4)
    const place = trie.add(prefix, this.count)
    if (place === this.count) this.count++
    return place
  }

  /** Visits the networks that contain an address, the widest first. */
  each(words: AddressWords.Words, visit: Visit): void {
    this.trie(words)?.each(words, visit)
  }

  /** The length of the narrowest network that contains an address; -1 for none. */
  longest(words: AddressWords.Words): number {
    return this.trie(words)?.longest(words) ?? -1
  }

  has(words: AddressWords.Words): boolean {
    return this.longest(words) >= 0
  }

  private trie(words: AddressWords.Words): Trie | undefined {
    return words.length === 1 ? this.ipv4 : this.ipv6
  }
}
