/** Certificates as openssl makes them, and clients that look at them. */
import * as Effect from "effect/Effect"
import { mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import * as Tls from "node:tls"
import * as Program from "./Program.ts"
import { ClientError, fromSocket } from "./RawClient.ts"

/** The paths of a certificate and its key. */
export interface Pair {
  readonly cert: string
  readonly key: string
}

/** A directory for the scope's time. */
export const directory = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "sluice-test-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** Makes a certificate for a common name, or none for `""`: by itself, or by an issuer. */
export const make = Effect.fnUntraced(function*(directory: string, name: string, commonName: string, issuer?: Pair) {
  const pair: Pair = { cert: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) }
  const ended = yield* Program.run("openssl", [
    ..."req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2".split(" "),
    "-keyout",
    pair.key,
    "-out",
    pair.cert,
    "-subj",
    commonName === "" ? "/O=nobody" : `/CN=${commonName}`,
    "-addext",
    "subjectAltName=IP:127.0.0.1",
    ...issuer === undefined
      ? []
      : ["-CA", issuer.cert, "-CAkey", issuer.key, "-addext", "basicConstraints=critical,CA:false"]
  ])
  if (ended.code !== 0) return yield* Effect.die(new Error(ended.stderr))
  return pair
})

/** A client over TLS that trusts one certificate, and may have one of its own. */
export const connect = Effect.fnUntraced(
  function*(port: number, trusted: Pair, options: Tls.ConnectionOptions & { readonly own?: Pair } = {}) {
    const { own, ...rest } = options
    const socket = yield* Effect.acquireRelease(
      Effect.callback<Tls.TLSSocket, ClientError>((resume) => {
        const socket = Tls.connect({
          port,
          host: "127.0.0.1",
          ca: readFileSync(trusted.cert),
          ...own !== undefined && { cert: readFileSync(own.cert), key: readFileSync(own.key) },
          ...rest
        }, () => resume(Effect.succeed(socket)))
        socket.once(
          "error",
          (error: NodeJS.ErrnoException) => resume(Effect.fail(new ClientError({ code: error.code ?? error.message })))
        )
      }),
      (socket) => Effect.sync(() => socket.destroy())
    )
    return fromSocket(socket)
  }
)
