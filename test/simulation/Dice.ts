/** Chance, from the seed of a schedule. */
import type * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Random from "effect/Random"

export class Dice {
  private readonly random: Random.Random

  constructor(random: Random.Random) {
    this.random = random
  }

  /** A whole number, both limits included. */
  int(min: number, max: number): number {
    return min + Math.floor(this.random.nextDoubleUnsafe() * (max - min + 1))
  }

  chance(probability: number): boolean {
    return this.random.nextDoubleUnsafe() < probability
  }

  pick<A>(choices: Arr.NonEmptyReadonlyArray<A>): A {
    return choices[this.int(0, choices.length - 1)] ?? choices[0]
  }

  /** Bytes of which no stretch looks like another, so that any loss or swap shows (xorshift). */
  bytes(size: number): Uint8Array {
    const bytes = new Uint8Array(size)
    let state = this.int(1, 0x7fffffff)
    for (let i = 0; i < size; i++) {
      state ^= state << 13
      state ^= state >>> 17
      state ^= state << 5
      bytes[i] = state
    }
    return bytes
  }

  /** Bytes cut into pieces at any places. */
  cut(bytes: Uint8Array, most: number): ReadonlyArray<Uint8Array> {
    const pieces: Array<Uint8Array> = []
    let rest = bytes
    while (rest.length > 0 && pieces.length < most - 1) {
      const size = this.int(1, rest.length)
      pieces.push(rest.subarray(0, size))
      rest = rest.subarray(size)
    }
    return rest.length > 0 ? [...pieces, rest] : pieces
  }
}

/** The dice of the seed that `Random.withSeed` has set. */
export const dice = Effect.map(Random.Random, (random) => new Dice(random))
