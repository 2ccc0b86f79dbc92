/** What is known of so many keys at most: of those that were set last. */
export class Recent<A> {
  // A map keeps its order.
  private readonly entries = new Map<string, A>()
  private readonly room: number

  constructor(room: number) {
    this.room = room
  }

  get size(): number {
    return this.entries.size
  }

  get(key: string): A | undefined {
    return this.entries.get(key)
  }

  set(key: string, entry: A): void {
    this.entries.delete(key)
    this.entries.set(key, entry)
    if (this.entries.size > this.room) this.forget()
  }

  delete(key: string): boolean {
    return this.entries.delete(key)
  }

  values(): Iterable<A> {
    return this.entries.values()
  }

  /** Some at once: to find the first one of a map costs the more, the more of those before it have been deleted. */
  private forget(): void {
    let some = Math.max(1, Math.floor(this.room / 64))
    for (const key of this.entries.keys()) {
      this.entries.delete(key)
      if (--some === 0) return
    }
  }
}
