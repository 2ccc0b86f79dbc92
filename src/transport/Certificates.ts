/** The certificate of a TLS listener, and who may vouch for its clients: read from files, and again when they change. */
import * as Context from "effect/Context"
import * as Effect from "effect/Effect"
import { identity } from "effect/Function"
import { X509Certificate } from "node:crypto"
import * as NodeTls from "node:tls"
import * as FileFault from "./FileFault.ts"
import { Files } from "./Files.ts"
import type { Tls } from "./ListenAddress.ts"
import { codeOf } from "./SocketError.ts"
import * as WatchedFile from "./WatchedFile.ts"

/** What the log has of files that won't do. */
export const notReadAnew = "certificate not read anew: the one before stays"

interface Pems {
  readonly cert: string
  readonly key: string
  readonly clientCa: string | undefined
}

/** Fails with what is wrong with a file, after its name. */
const attempt = <A>(thunk: () => A, problem: (code: string) => string): Effect.Effect<A, string> =>
  Effect.try({ try: thunk, catch: (error) => problem(codeOf(error)) })

const readText = Effect.fnUntraced(function*(name: string, path: string): Effect.fn.Return<string, string> {
  const files = yield* Files
  const bytes = yield* Effect.mapError(
    files.read(path),
    (code) => {
      const { fix, problem } = FileFault.words(code)
      return `${name} ${path}: ${problem}; ${fix}`
    }
  )
  return Buffer.from(bytes).toString()
})

const certificateProblem = (name: string, path: string) => () => `${name} ${path} has no certificate in PEM`

/** Fails with a line that names the file and what is wrong with it. */
const contextOf = Effect.fnUntraced(
  function*(tls: Tls, { cert, clientCa, key }: Pems): Effect.fn.Return<NodeTls.SecureContext, string> {
    // An empty text would be as good as none to Node, and one without a certificate would pass as an authority.
    yield* attempt(() => new X509Certificate(cert), certificateProblem("cert", tls.cert))
    if (clientCa !== undefined) {
      yield* attempt(() => new X509Certificate(clientCa), certificateProblem("clientCa", tls.clientCa ?? ""))
    }
    if (key === "") return yield* Effect.fail(`key ${tls.key} is empty, or can't be read`)
    return yield* attempt(() =>
      NodeTls.createSecureContext({
        cert,
        key,
        ...clientCa !== undefined && { ca: clientCa },
        minVersion: "TLSv1.2",
        honorCipherOrder: true,
        // Without one, OpenSSL resumes no session of a client with a certificate, and ends the connection instead.
        sessionIdContext: "sluice"
      }), (code) =>
      code === "ERR_OSSL_X509_KEY_VALUES_MISMATCH"
        ? `key ${tls.key} is not that of cert ${tls.cert}`
        : `key ${tls.key} can't be used with cert ${tls.cert} (${code})`)
  }
)

/**
 * Reads the files. Fails with one line about the one that won't do. What is returned gives the context for a new
 * connection, of files at most five seconds old: where they have changed and won't do, the one before stays, and one
 * line is logged.
 */
export const make = Effect.fnUntraced(
  function*(tls: Tls): Effect.fn.Return<() => NodeTls.SecureContext, string> {
    const clientCa = tls.clientCa
    let pems: Pems = {
      cert: yield* readText("cert", tls.cert),
      key: yield* readText("key", tls.key),
      clientCa: clientCa === undefined ? undefined : yield* readText("clientCa", clientCa)
    }
    let context = yield* contextOf(tls, pems)

    const cert = yield* WatchedFile.make(tls.cert, identity)
    const key = yield* WatchedFile.make(tls.key, identity)
    const authorities = clientCa === undefined ? Effect.succeed(undefined) : yield* WatchedFile.make(clientCa, identity)

    const services = yield* Effect.context<never>()
    const fork = Effect.runForkWith(services)
    const reload = Effect.gen(function*() {
      const now: Pems = { cert: yield* cert, key: yield* key, clientCa: yield* authorities }
      if (now.cert === pems.cert && now.key === pems.key && now.clientCa === pems.clientCa) return
      // Tried once, whatever comes of it: the next change is the next chance.
      pems = now
      context = yield* contextOf(tls, now)
      fork(Effect.annotateLogs(Effect.logInfo("certificate read anew"), { cert: tls.cert }))
    }).pipe(
      Effect.catch((reason) =>
        Effect.sync(() => {
          const level = Context.get(services, WatchedFile.IsTold) ? "Debug" : "Warn"
          fork(Effect.annotateLogs(Effect.logWithLevel(level)(notReadAnew), { reason }))
        })
      )
    )
    const run = Effect.runSyncWith(services)
    return () => {
      run(reload)
      return context
    }
  }
)

/** From when until when a certificate is good, in milliseconds since 1970. */
export const validity = Effect.fnUntraced(function*({ cert: path }: Tls) {
  const text = yield* readText("cert", path)
  const cert = yield* attempt(() => new X509Certificate(text), certificateProblem("cert", path))
  return { from: Date.parse(cert.validFrom), until: Date.parse(cert.validTo) }
})
