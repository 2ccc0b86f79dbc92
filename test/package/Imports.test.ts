import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Fs from "node:fs"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Program from "../support/Program.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))
const read = (path: string) => Fs.readFileSync(Path.join(root, path), "utf8")

/** From top to bottom, as the map in CONTRIBUTING.md lists them. */
const rooms = [...read("CONTRIBUTING.md").matchAll(/^\|.*`src\/(\w+)\/`.*\|.*\|$/gm)].map(([, room = ""]) => room)

/** Below, and still none of its business: transport knows no SOCKS, policy no bytes, bench and probe not what they look at. */
const strangers: Readonly<Record<string, ReadonlyArray<string>>> = {
  transport: ["protocol"],
  policy: ["client", "protocol"],
  bench: ["probe", "config", "server", "policy", "transport"],
  probe: ["config", "server", "policy"]
}

/** The only room that may import a package, besides effect. */
const owners: Readonly<Record<string, string>> = {
  "@effect/platform-node": "cli",
  "@node-rs/argon2": "policy",
  "hdr-histogram-js": "bench",
  yaml: "config"
}

interface Import {
  readonly file: string
  readonly room: string
  /** As it is written. */
  readonly from: string
}

/** `src/cli.ts` is in the room `cli`; `src/index.ts` in one of its own. */
const roomOf = (file: string): string => /^src\/(\w+)/.exec(file)?.[1] ?? ""

const files = Fs.readdirSync(Path.join(root, "src"), { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => `src/${file}`)

/** Static imports, exports of another module, and imports that are made when the program runs. */
const importsIn = (text: string): ReadonlyArray<string> => {
  const code = text.replaceAll(/\/\*.*?\*\/|^\s*\/\/.*?$/gms, "")
  return [...code.matchAll(/\b(?:from|import)\s*\(?\s*["'`]([^"'`\s]+)["'`]/g)].map(([, from = ""]) => from)
}

const imports: ReadonlyArray<Import> = files.flatMap((file) =>
  importsIn(read(file)).map((from) => ({ file, room: roomOf(file), from }))
)

/** What a relative import leads to, inside the project. */
const targetOf = ({ file, from }: Import): string => Path.join(Path.dirname(file), from)

const relative = imports.filter(({ from }) => from.startsWith("."))
const outside = imports.filter(({ from }) => !from.startsWith("."))
const packageOf = (from: string): string => /^(?:@[^/]+\/)?[^/]+/.exec(from)?.[0] ?? ""
const show = ({ file, from }: Import) => `${file} imports ${from}`

describe("imports", () => {
  it("were read at all", () => {
    assert.deepStrictEqual(rooms, [
      "cli",
      "bench",
      "probe",
      "config",
      "server",
      "policy",
      "client",
      "transport",
      "protocol"
    ])
    assert.includeMembers(files, ["src/index.ts", "src/cli.ts", "src/server/Session.ts"])
    const served = imports.filter(({ file }) => file === "src/server/SocksServer.ts").map(({ from }) => from)
    assert.includeMembers(served, ["effect/Layer", "./Session.ts"])
    const sample = [
      "/** import { no } from \"comment\" */",
      "// import \"line\"",
      "import \"a\"",
      "import {",
      "  b",
      "} from \"b\"",
      "import type * as c from 'c'",
      "export * from \"d\"",
      "const e = await import(\"e\")"
    ]
    assert.deepStrictEqual(importsIn(sample.join("\n")), ["a", "b", "c", "d", "e"])
  })

  it("live in a room of the map", () => {
    assert.deepStrictEqual(files.filter((file) => !["index", ...rooms].includes(roomOf(file))), [])
  })

  it("only point down between rooms", () => {
    const wrong = relative.filter((one) => {
      const target = roomOf(targetOf(one))
      if (one.room === "index") return ["cli", "bench", "probe", "config", "index"].includes(target)
      return rooms.indexOf(target) < rooms.indexOf(one.room) || strangers[one.room]?.includes(target) === true
    })
    assert.deepStrictEqual(wrong.map(show), [])
  })

  it("name a file that exists, with its real ending", () => {
    assert.deepStrictEqual(relative.filter((one) => !files.includes(targetOf(one))).map(show), [])
    assert.deepStrictEqual(relative.filter((one) => targetOf(one) === "src/cli.ts").map(show), [])
  })

  it("of the protocol are effect and itself", () => {
    const wrong = imports.filter(({ from, room }) => room === "protocol" && !/^(?:effect\/|\.\/)/.test(from))
    assert.deepStrictEqual(wrong.map(show), [])
  })

  it("take packages by subpath, never the root of effect or @effect/platform-node, and never undici", () => {
    const wrong = outside.filter(({ from }) =>
      /^(?:effect|@effect\/[^/]+)(?:\/index(?:\.js)?)?$|^undici/.test(from) || from.includes("/internal/")
    )
    assert.deepStrictEqual(wrong.map(show), [])
  })

  it("take each package in one room, and every dependency is taken", () => {
    const { dependencies }: { readonly dependencies: Readonly<Record<string, string>> } = JSON.parse(
      read("package.json")
    )
    const packages = outside.filter(({ from }) => !from.startsWith("node:"))
    const wrong = packages.filter(({ from, room }) => {
      const name = packageOf(from)
      return name !== "effect" && owners[name] !== room
    })
    assert.deepStrictEqual(wrong.map(show), [])
    assert.sameMembers([...new Set(packages.map(({ from }) => packageOf(from)))], Object.keys(dependencies))
    // A range would let two versions of effect meet.
    for (const version of Object.values(dependencies)) assert.match(version, /^\d+\.\d+\.\d+$/)
  })

  it.live("work from the built library on this Node", () =>
    Effect.gen(function*() {
      const program = "import(\"./dist/index.js\").then((library) => console.log(Object.keys(library).join()))"
      const ended = yield* Program.run(process.execPath, ["--input-type=module", "-e", program], { cwd: root })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.strictEqual(ended.stderr, "")
      const names = ["SocksServer", "Sessions", "Authenticator", "AccessPolicy", "Resolver", "Dialer", "ConnectionLog"]
      assert.includeMembers(ended.stdout.trim().split(","), [...names, "Transport", "MemoryTransport"])
    }))
})
