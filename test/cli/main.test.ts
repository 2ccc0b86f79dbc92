import { assert, describe, it } from "@effect/vitest"
import * as ConfigProvider from "effect/ConfigProvider"
import * as Effect from "effect/Effect"
import { readFileSync } from "node:fs"
import { run } from "../../src/cli/main.ts"
import * as Settings from "../../src/config/Settings.ts"
import * as Cli from "../support/Cli.ts"

const runWith = (args: ReadonlyArray<string>, env: Record<string, string> = {}) =>
  Effect.provideService(
    run(args),
    ConfigProvider.ConfigProvider,
    ConfigProvider.fromEnvRecord(env, { preserveEmptyStrings: true })
  )

const listenHelp = "HOST:PORT with an IP address or localhost, such as 127.0.0.1:1080 or [::1]:1080"
const openProxyHelp =
  "would be an open proxy; add --user NAME:PASSWORD or --users FILE, or say --open-proxy if it is meant"

type Case = readonly [args: string, complaint: string, env?: Record<string, string>]

const unusable: ReadonlyArray<Case> = [
  // What the parser finds.
  ["serv", "no such command; did you mean serve? see sluice --help"],
  ["serve --lisen 127.0.0.1:0", "--lisen: no such flag; did you mean --listen? see sluice serve --help"],
  ["serve --lisen=S3cr3t-canary", "--lisen: no such flag; did you mean --listen? see sluice serve --help"],
  ["serve -x", "-x: no such flag; see sluice serve --help"],
  ["serve --listen", "--listen: the value is missing; write --listen HOST:PORT"],
  ["serve --user", "--user: the value is missing; write --user NAME:PASSWORD"],
  [
    "serve --user alice:S3cr3t canary",
    "1 too many arguments; quote a value that has spaces, or see sluice serve --help"
  ],
  ["serve --idle-timeout 1s --idle-timeout 2s", "--idle-timeout: given 2 times; give it once"],
  ["serve --log-format xml", "--log-format: \"xml\" is not one of pretty, json, logfmt"],
  ["serve --log-level loud", "--log-level: \"loud\" is not one of trace, debug, info, warn, error, none"],
  ["serve --open-proxy=maybe", "--open-proxy: \"maybe\" is not one of true, false"],
  // What the settings find.
  ["serve --listen 1080", `--listen: "1080" is not ${listenHelp}`],
  ["serve --listen=", `--listen: is empty; give ${listenHelp}`],
  ["serve --listen 127.0.0.1:0 --listen \u001b[2K", `--listen: "\\x1b[2K" is not ${listenHelp}`],
  ["serve --user #ann:S3cr3t-canary", "--user: user name starts with #, as comments do; write NAME:PASSWORD"],
  ["serve --user S3cr3t-canary", "--user: no colon after the user name; write NAME:PASSWORD"],
  ["serve --allow lan", "--allow: \"lan\" is not a network, such as 10.0.0.0/8, fd00::/8 or 192.168.1.7"],
  ["serve --idle-timeout soon", "--idle-timeout: \"soon\" is not a duration, such as 500ms, 10s, 1h30m or 0"],
  ["serve --handshake-timeout 0", "--handshake-timeout: \"0\" is no time at all; give 1ms or more"],
  ["serve --max-connections 0", "--max-connections: \"0\" is not a whole number from 1 to 999999999"],
  ["serve --userann:S3cr3t-canary", "--userann: no such flag; see sluice serve --help"],
  ["serve --userann:S3cr3t=canary", "--userann: no such flag; see sluice serve --help"],
  ["serve -uann:S3cr3t-canary", "-u: no such flag; see sluice serve --help"],
  ["serve --listen 127.0.0.1:1 --listen localhost:1", "--listen: 127.0.0.1:1 is given twice; give it once"],
  ["serve --listen [::1]:1 --listen [0:0::1]:1", "--listen: [::1]:1 is given twice; give it once"],
  [
    "serve --listen 127.0.0.1:1 --listen [::ffff:127.0.0.1]:1",
    "--listen: 127.0.0.1:1 is given twice; give it once"
  ],
  ["serve", "SLUICE_LISTEN: 127.0.0.1:1 is given twice; give it once", { SLUICE_LISTEN: "localhost:1 127.0.0.1:1" }],
  ["--completions tcsh", "--completions: \"tcsh\" is not one of bash, zsh, fish, powershell, sh, pwsh"],
  // The same from the environment, under the variable's name.
  ["serve", `SLUICE_LISTEN: "1080" is not ${listenHelp}`, { SLUICE_LISTEN: "127.0.0.1:0 1080" }],
  ["serve", `SLUICE_LISTEN: "x" is not ${listenHelp}`, { SLUICE_LISTEN: "127.0.0.1:0, x" }],
  ["serve", "SLUICE_USER: no colon after the user name; write NAME:PASSWORD", { SLUICE_USER: "S3cr3t-canary" }],
  ["serve", "SLUICE_OPEN_PROXY: \"maybe\" is not true or false", { SLUICE_OPEN_PROXY: "maybe" }],
  ["serve", "SLUICE_LOG_FORMAT: \"xml\" is not one of pretty, json, logfmt", { SLUICE_LOG_FORMAT: "xml" }],
  ["serve", "SLUICE_DRAIN_TIMEOUT: \"x\" is not a duration, such as 500ms, 10s, 1h30m or 0", {
    SLUICE_DRAIN_TIMEOUT: "x"
  }],
  // A flag wins over its variable.
  ["serve --listen 1080", `--listen: "1080" is not ${listenHelp}`, { SLUICE_LISTEN: "127.0.0.1:0" }],
  // Open proxies.
  ["serve --listen 0.0.0.0:1080", `--listen: 0.0.0.0:1080 ${openProxyHelp}`],
  ["serve --listen [::]:1080", `--listen: [::]:1080 ${openProxyHelp}`],
  ["serve --listen 127.0.0.1:0 --listen 192.0.2.1:0", `--listen: 192.0.2.1:0 ${openProxyHelp}`],
  ["serve", `SLUICE_LISTEN: 0.0.0.0:1080 ${openProxyHelp}`, { SLUICE_LISTEN: "0.0.0.0:1080" }],
  ["serve --no-open-proxy --listen 0.0.0.0:0", `--listen: 0.0.0.0:0 ${openProxyHelp}`, { SLUICE_OPEN_PROXY: "1" }],
  ["serve --listen 0.0.0.0:0", `--listen: 0.0.0.0:0 ${openProxyHelp}`, { SLUICE_USER: " , " }],
  ["serve --listen 0.0.0.0:0", `--listen: 0.0.0.0:0 ${openProxyHelp}`, { SLUICE_USER: "", SLUICE_LOG_LEVEL: "" }],
  // Files.
  [
    "serve --users /nonexistent/users",
    "--users: /nonexistent/users: no such file; create it with a NAME:HASH on each line, or correct the path"
  ],
  [
    "serve",
    "SLUICE_USERS: /nonexistent/users: no such file; create it with a NAME:HASH on each line, or correct the path",
    { SLUICE_USERS: "/nonexistent/users" }
  ],
  [
    "serve --users /nonexistent/ann:S3cr3t-canary",
    "--users: /nonexistent/ann:***: no such file; correct the path, or give NAME:PASSWORD to --user"
  ],
  [
    "serve --users ann:S3cr3t/canary",
    "--users: ann:***: no such file; correct the path, or give NAME:PASSWORD to --user"
  ],
  [
    `serve --users ann:S3cr3t-canary${"x".repeat(300)}`,
    "--users: ann:***: can't be read (ENAMETOOLONG); correct the path, or give NAME:PASSWORD to --user"
  ],
  [
    "serve",
    "SLUICE_USERS: ann:***: no such file; correct the path, or give NAME:PASSWORD to --user",
    { SLUICE_USERS: "ann:S3cr3t-canary" }
  ],
  ["serve --users=", "--users: is empty; give the path of a file"],
  ["serve --users ", "--users: is empty; give the path of a file"],
  ["serve", "SLUICE_USERS: is empty; give the path of a file", { SLUICE_USERS: "" }],
  // Hash.
  ["hash #ann", "NAME: starts with #, as comments do; give the name that the user logs in with"],
  ["hash a:b", "NAME: has a colon; give the name that the user logs in with"],
  ["hash alice S3cr3t-canary", "1 too many arguments; quote a value that has spaces, or see sluice hash --help"],
  ["hash --password S3cr3t-canary", "--password: no such flag; see sluice hash --help"]
]

describe("main", () => {
  it.effect.each(unusable)("refuses %s: %s", ([args, complaint, env]) =>
    Effect.gen(function*() {
      const ending = yield* runWith(args.split(" "), env)
      assert.deepStrictEqual(ending, { code: 2, complaint })
      assert.notInclude(complaint, "S3cr3t")
    }))

  it.live("says so in one line on stderr, and nothing on stdout", () =>
    Effect.gen(function*() {
      const ended = yield* Cli.run(["serve", "--lisen", "x"])
      assert.deepStrictEqual(ended, {
        code: 2,
        stdout: "",
        stderr: "sluice: --lisen: no such flag; did you mean --listen? see sluice serve --help\n"
      })
    }))

  it.live("fails in one line when an address can't be had", () =>
    Effect.gen(function*() {
      const ended = yield* Cli.run(["serve", "--open-proxy", "--listen", "192.0.2.1:1080"])
      assert.deepStrictEqual(ended, {
        code: 1,
        stdout: "",
        stderr: "sluice: --listen: 192.0.2.1:1080 is not an address of this machine; " +
          "choose one that is, or 0.0.0.0 or [::] for all\n"
      })
    }))

  it.live("does not take an empty SLUICE_USERS for none", () =>
    Effect.gen(function*() {
      const ended = yield* Cli.run(["serve", "--listen", "0.0.0.0:0"], { env: { SLUICE_USERS: "" } })
      assert.deepStrictEqual(ended, {
        code: 2,
        stdout: "",
        stderr: "sluice: SLUICE_USERS: is empty; give the path of a file\n"
      })
    }))

  it.live("prints the package's version", () =>
    Effect.gen(function*() {
      const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"))
      assert.deepStrictEqual(yield* Cli.run(["--version"]), { code: 0, stdout: `sluice ${version}\n`, stderr: "" })
    }))

  it.live("lists every flag, its variable and its default in the help", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* Cli.run(["serve", "--help"])
      assert.deepStrictEqual([code, stderr], [0, ""])
      for (const { default: value, flag, metavar, variable } of Settings.all) {
        const line = stdout.split("\n").find((line) => line.trimStart().startsWith(`--${flag} `)) ?? ""
        assert.include(line, `[env: ${variable}]`)
        if (metavar !== undefined) assert.include(line, `--${flag} ${metavar}`)
        if (value !== undefined && metavar !== undefined) assert.include(line, `(default: ${value})`)
      }
    }))

  it.live.each(["bash", "zsh", "fish"])("prints completions for %s", (shell) =>
    Effect.gen(function*() {
      const { code, stdout } = yield* Cli.run(["--completions", shell])
      assert.strictEqual(code, 0)
      for (const word of ["serve", "hash", "half-close-timeout", "logfmt"]) assert.include(stdout, word)
    }))
})
