/**
 * One timer for all connections.
 *
 * A timer each would be ten thousand objects and, with every byte that arrives,
 * ten thousand cancellations. Here a connection notes when it was last active
 * and enters a heap once; only when its time has come is it asked whether it
 * really expired, and it may name a later time instead.
 */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"

/** Something that expires. One entry is in the heap once at most. */
export interface Deadline {
  /** Milliseconds of the clock at which to call `expire`. Owned by `Deadlines` between `set` and `clear`. */
  due: number
  /** Its place in the heap, -1 when it is in none. Owned by `Deadlines`. */
  place: number
  /** Called when `due` has come: a later time to be asked again, or `undefined` to be left alone. */
  readonly expire: (now: number) => number | undefined
}

export interface Deadlines {
  /** The clock's milliseconds, cheap enough for every chunk. */
  readonly now: () => number
  /** Enters it for a time, or moves it there. */
  readonly set: (deadline: Deadline, due: number) => void
  /** Takes it out; nothing happens when it is not in. */
  readonly clear: (deadline: Deadline) => void
  /** How many are in. */
  readonly size: () => number
}

/** The deadlines of one server; its scope ends the timer. */
export const make: Effect.Effect<Deadlines, never, Scope.Scope> = Effect.gen(function*() {
  const clock = yield* Clock.Clock
  const heap: Array<Deadline> = []
  /** The time that the timer sleeps for, and how to wake it before. */
  let sleepingUntil = Infinity
  let wake: (() => void) | undefined

  const put = (deadline: Deadline, place: number): void => {
    heap[place] = deadline
    deadline.place = place
  }

  const rise = (deadline: Deadline, from: number): void => {
    let place = from
    while (place > 0) {
      const parent = (place - 1) >> 1
      const above = heap[parent]
      if (above === undefined || above.due <= deadline.due) break
      put(above, place)
      place = parent
    }
    put(deadline, place)
  }

  const sink = (deadline: Deadline, from: number): void => {
    let place = from
    while (true) {
      let child = 2 * place + 1
      let below = heap[child]
      const right = heap[child + 1]
      if (below === undefined) break
      if (right !== undefined && right.due < below.due) {
        child++
        below = right
      }
      if (below.due >= deadline.due) break
      put(below, place)
      place = child
    }
    put(deadline, place)
  }

  const clear = (deadline: Deadline): void => {
    const place = deadline.place
    if (place === -1) return
    deadline.place = -1
    const last = heap.pop()
    if (last === undefined || last === deadline) return
    sink(last, place)
    rise(last, last.place)
  }

  const set = (deadline: Deadline, due: number): void => {
    clear(deadline)
    deadline.due = due
    heap.push(deadline)
    rise(deadline, heap.length - 1)
    if (due < sleepingUntil) wake?.()
  }

  const expireDue = (now: number): void => {
    for (let head = heap[0]; head !== undefined && head.due <= now; head = heap[0]) {
      clear(head)
      const later = head.expire(now)
      if (later !== undefined) set(head, later)
    }
  }

  /** Until the earliest is due, or an earlier one has been entered. */
  const nap = Effect.callback<void>((resume) => {
    wake = () => {
      wake = undefined
      resume(Effect.void)
    }
  })

  yield* Effect.forkScoped(
    Effect.forever(Effect.suspend(() => {
      expireDue(clock.currentTimeMillisUnsafe())
      sleepingUntil = heap[0]?.due ?? Infinity
      return sleepingUntil === Infinity
        ? nap
        : Effect.raceFirst(nap, Effect.sleep(sleepingUntil - clock.currentTimeMillisUnsafe()))
    })),
    { startImmediately: true }
  )

  return { now: () => clock.currentTimeMillisUnsafe(), set, clear, size: () => heap.length }
})
