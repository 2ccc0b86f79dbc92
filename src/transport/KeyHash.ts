/** Texts as numbers, to share things out by them: the same text always gets the same one, in every process. */
import * as Hash from "effect/Hash"

/** Murmur3's finalizer: `Hash` is made for tables, and keeps too much of its input's order to share users out evenly. */
export const mix = (hash: number): number => {
  let h = hash ^ hash >>> 16
  h = Math.imul(h, 0x85ebca6b)
  h = Math.imul(h ^ h >>> 13, 0xc2b2ae35)
  return (h ^ h >>> 16) >>> 0
}

/** A number from 0 to 2³² - 1. */
export const of = (text: string): number => mix(Hash.string(text))
