/** Where configuration is read from: the disk, or files as they once were. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { readFile } from "node:fs/promises"
import { codeOf } from "./SocketError.ts"
import { versionOf } from "./WatchedFile.ts"

export interface Files {
  /** All of a file; fails with the operating system's name for what is wrong: `ENOENT`. */
  readonly read: (path: string) => Effect.Effect<Uint8Array, string>
}

/** As they are now. */
export const disk: Files = {
  read: (path) => Effect.tryPromise({ try: (signal) => readFile(path, { signal }), catch: codeOf })
}

export const Files = Context.Reference<Files>("sluice/transport/Files", { defaultValue: () => disk })

/** What a file holds, and its version on the disk (`WatchedFile.versionOf`). */
export interface Content {
  readonly version: string
  readonly bytes: Uint8Array
}

/** What a file is read as whose content has changed under the reading, or since it was agreed upon. */
const changed = "ESTALE"

/** Reads from the disk what has to be of one version. */
const readVersion = Effect.fnUntraced(function*(path: string, version: string) {
  const bytes = yield* disk.read(path)
  return versionOf(path) === version ? bytes : yield* Effect.fail(changed)
})

/** Reads all of a file that nobody writes to meanwhile. */
export const readWhole = (path: string): Effect.Effect<Content, string> =>
  Effect.suspend(() => {
    const version = versionOf(path)
    return Effect.map(readVersion(path, version), (bytes) => ({ version, bytes }))
  })

/** The same files; which versions the disk had of them is noted, by their paths. */
export const noting = ({ read }: Files, versions: Map<string, string>): Files => ({
  read: (path) =>
    Effect.suspend(() => {
      versions.set(path, versionOf(path))
      return read(path)
    })
})

/** A file as it has to be read: these bytes, or those of this version on the disk. */
export type Pin = Uint8Array | string

/** The disk, except for what is pinned: that is read so, or not at all. */
export const pinned = (pins: ReadonlyMap<string, Pin>): Files => ({
  read: (path) => {
    const pin = pins.get(path)
    if (pin === undefined) return disk.read(path)
    return typeof pin === "string" ? readVersion(path, pin) : Effect.succeed(pin)
  }
})
