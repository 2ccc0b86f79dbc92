/**
 * Password hashes: argon2id in the PHC string format,
 * `$argon2id$v=19$m=19456,t=2,p=1$SALT$DIGEST` (RFC 9106).
 */
import { parseOptions } from "@node-rs/argon2"
import * as Data from "effect/Data"
import * as Effect from "effect/Effect"
import * as PartitionedSemaphore from "effect/PartitionedSemaphore"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { HashThread, type Job } from "./HashThread.ts"

/** What `hash` takes: 19 MiB, 2 passes, 1 lane (OWASP's first recommendation for argon2id). */
const parameters = { memoryCost: 19456, timeCost: 2, parallelism: 1, outputLen: 32 }

/** A hash that asks for more than this would stop the proxy at each login: 1 GiB, 64 passes. */
const limits = { memoryCost: 1024 * 1024, timeCost: 64 }

// Two threads of their own, whatever the storm of logins. The work itself can't be interrupted, since a thread that was
// given up would go on working uncounted. Those who wait are served by turns of their clients, so that a storm from one
// address is not in the way of the others.
const threads = [new HashThread(), new HashThread()]
const permits = PartitionedSemaphore.makeUnsafe<string>({ permits: threads.length })

const onThread = (from: string, job: () => Job): Effect.Effect<string | boolean> =>
  permits.withPermit(from)(Effect.uninterruptible(Effect.suspend(() => {
    const thread = threads.pop() ?? new HashThread()
    return Effect.ensuring(Effect.promise(() => thread.run(job())), Effect.sync(() => threads.push(thread)))
  })))

/** Hashes a password with a fresh random salt. */
export const hash = (password: Redacted.Redacted<string>): Effect.Effect<string> =>
  Effect.map(onThread("", () => ({ kind: "hash", password: Redacted.value(password), parameters })), String)

/** More logins wait to be verified than are worth waiting for. */
export class TooManyLogins extends Data.TaggedError("TooManyLogins")<{}> {
  override get message(): string {
    return "too many logins at once"
  }
}

/** How many may wait, in all and of one client: with this proxy's own hashes, some seconds and a second of work. */
export const room = { all: 256, client: 64 }

/** Those who wait or are being verified, by their clients. */
const waiting = new Map<string, number>()
let waitingInAll = 0

const leave = (from: string): void => {
  waitingInAll--
  const left = (waiting.get(from) ?? 0) - 1
  if (left > 0) waiting.set(from, left)
  else waiting.delete(from)
}

/**
 * Whether a password belongs to a hash. Clients, each with its name in `from`, take turns; where too many wait, it fails
 * at once. Dies on a hash that `problemOf` complains about.
 */
export const verify = (
  encoded: string,
  password: Redacted.Redacted<string>,
  from = ""
): Effect.Effect<boolean, TooManyLogins> =>
  Effect.suspend(() => {
    const own = waiting.get(from) ?? 0
    if (waitingInAll >= room.all || own >= room.client) return Effect.fail(new TooManyLogins())
    waitingInAll++
    waiting.set(from, own + 1)
    return Effect.ensuring(
      Effect.map(
        onThread(from, () => ({ kind: "verify", password: Redacted.value(password), encoded })),
        (verified) => verified === true
      ),
      Effect.sync(() => leave(from))
    )
  })

/** Whether a text means to be an argon2id hash; `problemOf` says whether it is one. */
export const isHash = (text: string): boolean => text.startsWith("$argon2id$")

/** Why a text can't serve as an argon2id hash, in words that follow "hash is"; `undefined` when it can. */
export const problemOf = (text: string): string | undefined => {
  const parsed = Result.try(() => parseOptions(text))
  // A digest below 16 bytes was cut off, and what is left of it would match other passwords too.
  if (!isHash(text) || Result.isFailure(parsed) || parsed.success.outputLen < 16) return "malformed"
  return parsed.success.memoryCost > limits.memoryCost || parsed.success.timeCost > limits.timeCost
    ? "too costly (at most m=1048576,t=64)"
    : undefined
}
