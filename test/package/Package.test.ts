import { assert, layer } from "@effect/vitest"
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Stream from "effect/Stream"
import * as Fs from "node:fs"
import { SourceMap } from "node:module"
import * as Os from "node:os"
import * as Path from "node:path"
import { fileURLToPath } from "node:url"
import * as Cli from "../support/Cli.ts"
import { greeting, httpOrigin } from "../support/HttpOrigin.ts"
import * as Program from "../support/Program.ts"

const root = fileURLToPath(new URL("../..", import.meta.url))

/** What `npm test` tells its children about this package; where npm finds its registry and its cache may stay. */
const fromNpm = Object.keys(process.env).filter((name) =>
  /^npm_(?!config_(registry|cache|userconfig|globalconfig)$)/.test(name)
)

const npm = Effect.fnUntraced(function*(cwd: string, args: ReadonlyArray<string>) {
  const env = Object.fromEntries(fromNpm.map((name) => [name, undefined]))
  const ended = yield* Program.run("npm", args, { cwd, env })
  assert.strictEqual(ended.code, 0, `npm ${args.join(" ")}: ${ended.stdout}${ended.stderr}`)
  return ended
})

/** Somebody else's project, which has installed the package as `npm pack` makes it. */
class Consumer extends Context.Service<Consumer, {
  readonly folder: string
  /** The package's files, as paths inside of it. */
  readonly files: ReadonlyArray<string>
  /** Writes a file into the project. */
  readonly write: (name: string, text: string) => Effect.Effect<void>
}>()("test/package/Consumer") {
  static readonly layer = Layer.effect(
    this,
    Effect.gen(function*() {
      const folder = yield* Effect.acquireRelease(
        Effect.sync(() => Fs.mkdtempSync(Path.join(Os.tmpdir(), "sluice-package-"))),
        (folder) => Effect.sync(() => Fs.rmSync(folder, { recursive: true }))
      )
      const write = (name: string, text: string) => Effect.sync(() => Fs.writeFileSync(Path.join(folder, name), text))
      yield* npm(root, ["pack", "--pack-destination", folder])
      const tarballs = Fs.readdirSync(folder)
      assert.match(tarballs.join(), /^sluice-[\d.]+\.tgz$/)
      yield* write("package.json", JSON.stringify({ name: "consumer", private: true, type: "module" }))
      yield* npm(folder, ["install", "--no-audit", "--no-fund", "--prefer-offline", `./${tarballs.join()}`])
      // Comes with @effect/platform-node and needs Node 22: nothing may load it.
      Fs.rmSync(Path.join(folder, "node_modules/undici"), { recursive: true, force: true })
      const installed = Path.join(folder, "node_modules/sluice")
      const files = Fs.readdirSync(installed, { recursive: true, withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map((entry) => Path.relative(installed, Path.join(entry.parentPath, entry.name)))
      return { folder, files, write }
    })
  )
}

/** Compiles one file of the project. */
const compile = Effect.fnUntraced(function*(name: string) {
  const { folder, write } = yield* Consumer
  const compilerOptions = { strict: true, module: "NodeNext", target: "ES2023", noEmit: true, skipLibCheck: false }
  yield* write("tsconfig.json", JSON.stringify({ compilerOptions, files: [name] }))
  const tsc = Path.join(root, "node_modules/typescript/bin/tsc")
  return yield* Program.run(process.execPath, [tsc, "-p", "."], { cwd: folder })
})

const library = `
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { Sessions, SocksServer } from "sluice"

const listen = [NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")]
const layer = SocksServer.layer({ listen }).pipe(Layer.provide(SocksServer.defaults))
const program = Effect.gen(function*() {
  const context = yield* Layer.build(layer)
  const [address] = Context.get(context, SocksServer).addresses
  return { listens: address.port > 0, sessions: yield* Context.get(context, Sessions).count }
})
console.log(JSON.stringify(await Effect.runPromise(Effect.scoped(program))))
`

const types = `
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import { AccessDenied, AccessPolicy, type ConnectionRecord, type ListenError, Sessions, SocksServer } from "sluice"

const onlyAnn = Layer.succeed(AccessPolicy, {
  authorize: ({ user }) => user === "ann" ? AccessPolicy.permit : Effect.fail(new AccessDenied({ rule: "only ann" })),
  authorizeAddress: () => AccessPolicy.permit
})

const server = SocksServer.layer({ listen: [NetAddress.inetAddressFromStringUnsafe("127.0.0.1:0")] }).pipe(
  Layer.provide(onlyAnn),
  Layer.provide(SocksServer.defaults)
)

// @ts-expect-error a text is no address: the types are there
SocksServer.layer({ listen: ["127.0.0.1:0"] })

export const bytesOf = ({ bytesDown, bytesUp }: ConnectionRecord): number => bytesDown + bytesUp

export const program: Effect.Effect<number, ListenError> = Effect.gen(function*() {
  const { addresses } = yield* SocksServer
  const sessions = yield* Sessions
  return addresses.length + (yield* sessions.count)
}).pipe(Effect.provide(server))
`

layer(Consumer.layer, { excludeTestServices: true, timeout: "3 minutes" })("the package", (it) => {
  it.effect("has the program, its types and sources, README, LICENSE and CHANGELOG", () =>
    Effect.gen(function*() {
      const { files } = yield* Consumer
      const papers = ["README.md", "LICENSE", "CHANGELOG.md", "package.json"]
      const code = ["dist/cli.js", "dist/index.js", "dist/index.d.ts", "src/index.ts", "src/server/Session.ts"]
      assert.deepStrictEqual([...papers, ...code].filter((file) => !files.includes(file)), [])
    }))

  it.effect("has no tests, and nothing that only a build needs", () =>
    Effect.gen(function*() {
      const { files } = yield* Consumer
      const known = /^(?:(?:CHANGELOG|README)\.md|LICENSE|package\.json|src\/.+\.ts|dist\/.+\.(?:js|d\.ts)(?:\.map)?)$/
      assert.isAbove(files.length, 0)
      // The subcommand of that name is no bench of ours, nor are the tests of a configuration ours.
      const ours = /^(?:src|dist)\/(?:bench\/\w+|cli\/bench|config\/(?:ConfigTests|Example|TestConfig))\./
      const own = files.filter((file) => !ours.test(file))
      assert.isAbove(own.length, 0)
      assert.deepStrictEqual(files.filter((file) => !known.test(file)), [])
      assert.deepStrictEqual(own.filter((file) => /test|bench|example/i.test(file)), [])
    }))

  it.effect("has all that the library is made of, built for its sources and nothing else", () =>
    Effect.gen(function*() {
      const { files } = yield* Consumer
      const stems = files.flatMap((file) => /^src\/(.+)\.ts$/.exec(file)?.[1] ?? [])
        // The program is one file, which has these in it.
        .filter((stem) => !/^(?:cli$|cli\/|config\/)/.test(stem))
      const modules = stems.flatMap((stem) => [".d.ts", ".d.ts.map", ".js", ".js.map"].map((ending) => stem + ending))
      const built = [...modules, "cli.js", "cli.js.map"]
      const found = files.flatMap((file) => /^dist\/([^.].*)$/.exec(file)?.[1] ?? [])
      assert.isAbove(modules.length, 0)
      assert.deepStrictEqual(built.filter((file) => !found.includes(file)), [])
      const tooMuch = found.filter((file) => !built.includes(file))
      assert.deepStrictEqual(tooMuch, [], "left over from a source that is gone: remove dist, and build again")
    }))

  it.effect("maps the program to the sources beside it", () =>
    Effect.gen(function*() {
      const { folder } = yield* Consumer
      const read = (name: string) => Fs.readFileSync(Path.join(folder, "node_modules/sluice", name), "utf8")
      const bundle = read("dist/cli.js").trimEnd().split("\n")
      assert.deepStrictEqual(bundle.slice(-2), ["main();", "//# sourceMappingURL=cli.js.map"])
      const entry = new SourceMap(JSON.parse(read("dist/cli.js.map"))).findEntry(bundle.length - 2, 0)
      assert.deepInclude(entry, { originalSource: "../src/cli.ts", originalColumn: 0 })
      const line = "originalLine" in entry ? entry.originalLine : -1
      assert.strictEqual(read("src/cli.ts").split("\n")[line], "main()")
    }))

  it.effect("says its version", () =>
    Effect.gen(function*() {
      const { folder } = yield* Consumer
      const { version }: { readonly version: string } = JSON.parse(
        Fs.readFileSync(Path.join(root, "package.json"), "utf8")
      )
      const ended = yield* Program.run("node_modules/.bin/sluice", ["--version"], { cwd: folder })
      assert.deepStrictEqual(ended, { code: 0, stdout: `sluice ${version}\n`, stderr: "" })
    }))

  it.effect("serves by its bin", () =>
    Effect.gen(function*() {
      const { folder } = yield* Consumer
      const origin = yield* httpOrigin()
      const proxy = yield* Cli.serve({ program: [Path.join(folder, "node_modules/.bin/sluice")] })
      const curl = ["-q", "-sS", "--max-time", "25", "--socks5-hostname", `127.0.0.1:${proxy.port}`]
      const ended = yield* Program.run("curl", [...curl, `http://localhost:${origin}/`])
      assert.deepStrictEqual(ended, { code: 0, stdout: greeting, stderr: "" })
      assert.strictEqual(yield* proxy.stop, 0)
    }))

  it.effect("measures by its bin: the module of the bench's processes came with it", () =>
    Effect.gen(function*() {
      const { folder } = yield* Consumer
      const proxy = yield* Cli.serve({ program: [Path.join(folder, "node_modules/.bin/sluice")] })
      const args = ["bench", `socks5://127.0.0.1:${proxy.port}`, "--duration", "200ms", "--warm-up", "0"]
      const ended = yield* Program.run("node_modules/.bin/sluice", args, { cwd: folder })
      assert.deepStrictEqual([ended.code, ended.stderr], [0, ""])
      assert.match(ended.stdout, /^errors +none$/m)
    }))

  it.effect("hashes by its bin: the binary of argon2 came with it", () =>
    Effect.gen(function*() {
      const { folder } = yield* Consumer
      const stdin = Stream.make(Buffer.from("sesame\n"))
      const ended = yield* Program.run("node_modules/.bin/sluice", ["hash", "ann"], { cwd: folder, stdin })
      assert.strictEqual(ended.code, 0, ended.stderr)
      assert.match(ended.stdout, /^ann:\$argon2id\$[^\s]+\n$/)
    }))

  it.effect("serves as a library", () =>
    Effect.gen(function*() {
      const { folder, write } = yield* Consumer
      yield* write("library.mjs", library)
      const ended = yield* Program.run(process.execPath, ["library.mjs"], { cwd: folder })
      assert.strictEqual(ended.stderr, "")
      assert.deepStrictEqual(JSON.parse(ended.stdout), { listens: true, sessions: 0 })
      assert.strictEqual(ended.code, 0)
    }))

  it.effect("has types, its declarations checked as well", () =>
    Effect.gen(function*() {
      const { write } = yield* Consumer
      yield* write("types.ts", types)
      assert.deepStrictEqual(yield* compile("types.ts"), { code: 0, stdout: "", stderr: "" })
    }))

  it.effect("compiles what its README shows", () =>
    Effect.gen(function*() {
      const { folder, write } = yield* Consumer
      const readme = Fs.readFileSync(Path.join(folder, "node_modules/sluice/README.md"), "utf8")
      const blocks = Array.from(readme.matchAll(/^```(?:ts|typescript)\n(.*?)^```$/gms), ([, code = ""]) => code)
      assert.isAbove(blocks.length, 0)
      for (const [i, code] of blocks.entries()) {
        yield* write(`readme-${i}.ts`, code)
        assert.deepStrictEqual(yield* compile(`readme-${i}.ts`), { code: 0, stdout: "", stderr: "" }, code)
      }
    }))
})
