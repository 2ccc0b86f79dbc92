/**
 * A small system file (`/etc/hosts`, `/etc/resolv.conf`), parsed, and read again when it changed.
 *
 * The calls are synchronous on purpose: a `stat` every few seconds costs microseconds, while the thread
 * pool behind the asynchronous ones may be busy hashing passwords, and every lookup would wait for it.
 */
import * as Clock from "effect/Clock"
import * as Context from "effect/Context"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"

/** Whether somebody else tells the log of files that can't be used: of several processes, one. */
export const IsTold = Context.Reference<boolean>("sluice/transport/WatchedFile/IsTold", { defaultValue: () => false })

/** How long a file is trusted before it is looked at again. */
export const checkInterval = Duration.seconds(5)

/** The content of a file that can't be read is the empty text, as the C library has it. */
const readText = (path: string): string => {
  try {
    return Fs.readFileSync(path, "utf8")
  } catch {
    return ""
  }
}

/** Changes when the file is written, replaced, removed or created. */
export const versionOf = (path: string): string => {
  try {
    const stat = Fs.statSync(path, { bigint: true })
    return `${stat.ino}:${stat.size}:${stat.mtimeNs}`
  } catch {
    return ""
  }
}

/**
 * Reads the file now; the effect returned gives what it holds, at most `checkInterval` old. The value
 * stays the same object for as long as the file stays the same. Never fails: a missing or unreadable
 * file is parsed as an empty one.
 */
export const make = Effect.fnUntraced(function*<A>(path: string, parse: (text: string) => A) {
  let version = versionOf(path)
  let value = parse(readText(path))
  let checkedAt = yield* Clock.currentTimeMillis
  return Effect.map(Clock.currentTimeMillis, (now) => {
    if (now - checkedAt >= Duration.toMillis(checkInterval)) {
      checkedAt = now
      const current = versionOf(path)
      if (current !== version) {
        version = current
        value = parse(readText(path))
      }
    }
    return value
  })
})
