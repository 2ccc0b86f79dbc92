/**
 * Password hashes: argon2id in the PHC string format,
 * `$argon2id$v=19$m=19456,t=2,p=1$SALT$DIGEST` (RFC 9106).
 */
import { hash as argon2Hash, parseOptions, verify as argon2Verify } from "@node-rs/argon2"
import * as Effect from "effect/Effect"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import * as Semaphore from "effect/Semaphore"

/** What `hash` takes: 19 MiB, 2 passes, 1 lane (OWASP's first recommendation for argon2id). */
const parameters = { memoryCost: 19456, timeCost: 2, parallelism: 1, outputLen: 32 }

/** A hash that asks for more than this would stop the proxy at each login: 1 GiB, 64 passes. */
const limits = { memoryCost: 1024 * 1024, timeCost: 64 }

// libuv's pool has four threads for the whole process: two stay free for its files and names, whatever the storm of
// logins. The work itself can't be interrupted, since a thread that was given up would go on working uncounted.
const threads = Semaphore.makeUnsafe(2)

const onThread = <A>(work: () => Promise<A>): Effect.Effect<A> =>
  threads.withPermits(1)(Effect.uninterruptible(Effect.promise(work)))

/** Hashes a password with a fresh random salt. */
export const hash = (password: Redacted.Redacted<string>): Effect.Effect<string> =>
  onThread(() => argon2Hash(Redacted.value(password), parameters))

/** Whether a password belongs to a hash. Dies on a hash that `problemOf` complains about. */
export const verify = (encoded: string, password: Redacted.Redacted<string>): Effect.Effect<boolean> =>
  onThread(() => argon2Verify(encoded, Redacted.value(password)))

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
