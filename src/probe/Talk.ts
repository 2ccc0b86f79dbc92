/** One connection with the proxy, spoken to message by message. */
import type * as Cause from "effect/Cause"
import * as Effect from "effect/Effect"
import type { Negotiation, Stage } from "../client/Negotiation.ts"
import { BadAnswer, type NegotiationError, ProxyUnreachable } from "../client/ProxyError.ts"
import type { Codec } from "../protocol/Codec.ts"
import type { Connection, ConnectionError } from "../transport/Connection.ts"

/** Bytes that are kept of what comes without end; no check expects as many. */
export const mostKept = 16_384

type TalkError = NegotiationError | ProxyUnreachable

export class Talk {
  readonly connection: Connection
  readonly proxy: string
  private rest: Uint8Array = new Uint8Array(0)

  constructor(connection: Connection, proxy: string) {
    this.connection = connection
    this.proxy = proxy
  }

  /** A failure of the connection as one of the proxy. */
  private told<A>(effect: Effect.Effect<A, ConnectionError | Cause.Done>): Effect.Effect<A, ProxyUnreachable> {
    return Effect.mapError(
      effect,
      (error) => new ProxyUnreachable({ proxy: this.proxy, code: error._tag === "Done" ? "EEND" : error.code })
    )
  }

  private readonly more = Effect.suspend(() =>
    Effect.map(this.told(this.connection.pull), ([bytes]) => {
      this.rest = Buffer.concat([this.rest, bytes])
    })
  )

  private take(size: number): Uint8Array {
    const taken = this.rest.subarray(0, size)
    this.rest = this.rest.subarray(size)
    return taken
  }

  say(bytes: Uint8Array): Effect.Effect<void, ProxyUnreachable> {
    return this.told(this.connection.write(bytes))
  }

  readonly read = Effect.fnUntraced(
    function*<A>(this: Talk, codec: Pick<Codec<A>, "decode">): Effect.fn.Return<A, BadAnswer | ProxyUnreachable> {
      while (true) {
        const decoded = codec.decode(this.rest)
        if (decoded._tag === "Failed") return yield* new BadAnswer({ proxy: this.proxy, why: decoded.error.message })
        if (decoded._tag === "Done") {
          this.take(decoded.size)
          return decoded.value
        }
        yield* this.more
      }
    }
  )

  readonly readBytes = Effect.fnUntraced(
    function*(this: Talk, size: number): Effect.fn.Return<Uint8Array, ProxyUnreachable> {
      while (this.rest.length < size) yield* this.more
      return this.take(size)
    }
  )

  /** All that comes up to the end of the stream, or to `isEnough`. More than `mostKept` is not waited for. */
  readonly readToEnd = Effect.fnUntraced(
    function*(
      this: Talk,
      isEnough: (bytes: Uint8Array) => boolean = () => false
    ): Effect.fn.Return<Uint8Array, ProxyUnreachable> {
      const more = Effect.repeat(this.more, { while: () => this.rest.length <= mostKept && !isEnough(this.rest) })
      yield* Effect.catchIf(more, ({ code }) => code === "EEND", () => Effect.void)
      return this.take(this.rest.length)
    }
  )

  private readonly step = Effect.fnUntraced(
    function*(this: Talk, negotiation: Negotiation, stage: Stage, request: Uint8Array) {
      while (true) {
        const step = negotiation.next(stage, this.rest, request)
        if (step._tag === "Failed") return yield* step.error
        if (step._tag !== "Wait") {
          this.take(step.taken)
          return step
        }
        yield* this.more
      }
    }
  )

  /** Everything up to the request, which is still to be sent. */
  readonly greet = Effect.fnUntraced(
    function*(this: Talk, negotiation: Negotiation): Effect.fn.Return<void, TalkError> {
      const nothing = new Uint8Array(0)
      let { bytes, stage } = negotiation.first(nothing)
      while (stage !== "answer") {
        yield* this.say(bytes)
        const step = yield* this.step(negotiation, stage, nothing)
        // No proxy is open before it was asked.
        if (step._tag === "Open") return
        bytes = step.bytes
        stage = step.stage
      }
    }
  )

  /** Sends the request, with whatever is behind it, and waits until the proxy is open. */
  readonly ask = Effect.fnUntraced(
    function*(this: Talk, negotiation: Negotiation, request: Uint8Array): Effect.fn.Return<void, TalkError> {
      yield* this.say(request)
      yield* this.step(negotiation, "answer", request)
    }
  )
}
