/** Where configuration is read from: the disk, or files as they once were. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { constants } from "node:fs"
import { open, readFile } from "node:fs/promises"
import { codeOf } from "./SocketError.ts"
import { versionOf } from "./WatchedFile.ts"

export interface Files {
  /** All of a file; fails with the operating system's name for what is wrong: `ENOENT`, `EFTYPE` for a pipe or device. */
  readonly read: (path: string) => Effect.Effect<Uint8Array, string>
}

/** What a file is read as that is none: a pipe or a device, whose reader may wait for ever, or never be done. */
export class Irregular extends Error {
  readonly code = "EFTYPE"
}

/** Descriptors that whoever has started this process gave it, pipes as well: `<(…)` of a shell. */
const isHandedOver = (path: string): boolean => /^\/dev\/(stdin|fd\/\d+)$|^\/proc\/self\/fd\/\d+$/.test(path)

const readRegular = async (path: string, signal: AbortSignal): Promise<Uint8Array> => {
  if (isHandedOver(path)) return readFile(path, { signal })
  // Opening a pipe waits for who writes to it otherwise, in a thread that nothing can call back.
  const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK)
  try {
    const stat = await file.stat()
    if (!stat.isFile() && !stat.isDirectory()) throw new Irregular()
    return await file.readFile({ signal })
  } finally {
    await file.close()
  }
}

/** As they are now. */
export const disk: Files = {
  read: (path) => Effect.tryPromise({ try: (signal) => readRegular(path, signal), catch: codeOf })
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
