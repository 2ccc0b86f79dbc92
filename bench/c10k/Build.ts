/**
 * Compiles what isn't TypeScript: the relay and the load by gcc, the goroutines by go.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"

/** What {@link relay} made. */
export interface Relay {
  readonly path: string
  /** Those that can be had here. */
  readonly mechanisms: ReadonlyArray<string>
  /** Why the others are left out. */
  readonly missing: ReadonlyMap<string, string>
}

/** All that `mechanisms.c` can hold, in the order of the article. */
export const mechanisms = [
  "thread",
  "process",
  "select",
  "poll",
  "epoll-lt",
  "epoll-et",
  "libevent",
  "io_uring"
] as const

const libraries = [
  {
    mechanism: "libevent",
    package: "libevent-dev",
    include: "event2/event.h",
    flag: "-levent",
    without: "-DNO_LIBEVENT"
  },
  {
    mechanism: "io_uring",
    package: "liburing-dev",
    include: "liburing.h",
    flag: "-luring",
    without: "-DNO_IO_URING"
  }
] as const

const run = (command: string, args: ReadonlyArray<string>, input = ""): string => {
  const done = ChildProcess.spawnSync(command, args, { input, encoding: "utf8" })
  if (done.error !== undefined) throw new Error(`${command} is missing: ${done.error.message}`)
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}\n${done.stderr}`)
  return done.stdout
}

const warnings = ["-O2", "-Wall", "-Wextra", "-Werror"]

const compiles = (head: string, flags: ReadonlyArray<string>): boolean => {
  const source = `${head}\nint main(void) { return 0; }\n`
  return ChildProcess.spawnSync("gcc", ["-x", "c", "-", ...flags, "-o", "/dev/null"], { input: source }).status === 0
}

/** Whether C can be compiled here: the compiler alone can't, without the library's headers. */
export const hasGcc = (): boolean => compiles("#include <stdio.h>", [])

const requireGcc = (): void => {
  if (!hasGcc()) throw new Error("gcc is missing: install the Debian packages gcc and libc6-dev")
}

/** Builds `mechanisms.c` of the directory `sources` into the directory `out`. Throws when gcc is missing. */
export const relay = (sources: string, out: string): Relay => {
  requireGcc()
  Fs.mkdirSync(out, { recursive: true })
  const path = Path.join(out, "mechanisms")
  const flags = new Array<string>()
  const missing = new Map<string, string>()
  for (const library of libraries) {
    const present = compiles(`#include <${library.include}>`, [library.flag])
    flags.push(present ? library.flag : library.without)
    if (!present) missing.set(library.mechanism, `${library.package} isn't installed`)
  }
  run("gcc", [...warnings, "-pthread", Path.join(sources, "mechanisms.c"), ...flags, "-o", path])
  const present = run(path, ["--list"]).trim().split("\n")
  for (const mechanism of mechanisms) {
    if (!present.includes(mechanism) && !missing.has(mechanism)) missing.set(mechanism, "the kernel doesn't allow it")
  }
  return { path, mechanisms: present, missing }
}

/** Builds `load.c`; gives the program's path. Throws when gcc is missing. */
export const load = (sources: string, out: string): string => {
  requireGcc()
  Fs.mkdirSync(out, { recursive: true })
  const path = Path.join(out, "load")
  run("gcc", [...warnings, Path.join(sources, "load.c"), "-o", path])
  return path
}

/** Builds `goroutines/main.go`; gives the program's path, or `undefined` when go is missing. */
export const goroutines = (sources: string, out: string): string | undefined => {
  if (ChildProcess.spawnSync("go", ["version"]).status !== 0) return undefined
  Fs.mkdirSync(out, { recursive: true })
  const path = Path.join(out, "goroutines")
  run("go", ["build", "-o", path, Path.join(sources, "goroutines", "main.go")])
  return path
}
