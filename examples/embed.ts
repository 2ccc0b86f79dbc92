/**
 * Sluice inside a larger Effect program: the proxy next to an HTTP server, with
 * an authenticator and an access policy of one's own. The page lists who is
 * using the proxy, and `/stop/ID` ends a session.
 *
 *     npm run example
 *     curl --socks5-hostname 127.0.0.1:1080 --proxy-user ann:sesame http://localhost:8080/
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Config from "effect/Config"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import { AccessDenied, AccessPolicy, AuthenticationFailed, Authenticator, Sessions, SocksServer } from "sluice"

/** Whoever knows the word may in, under any name. */
const MyAuthenticator = Layer.succeed(Authenticator, {
  required: true,
  authenticate: ({ password, username }) =>
    Redacted.value(password) === "sesame"
      ? Effect.succeed({ name: username })
      : Effect.fail(new AuthenticationFailed({ username }))
})

/** Anywhere, but no mail. */
const MyPolicy = Layer.succeed(AccessPolicy, {
  authorize: ({ destination, user }) =>
    destination.port === 25
      ? Effect.fail(new AccessDenied({ rule: `${user} sends no mail through here` }))
      : AccessPolicy.permit,
  authorizeAddress: () => AccessPolicy.permit
})

/** Port 0 takes any free one. */
const port = (name: string, otherwise: number) => Config.Int(name).pipe(Config.withDefault(otherwise))

const Proxy = Layer.unwrap(Effect.gen(function*() {
  const address = NetAddress.inetAddressUnsafe(NetAddress.ipv4Loopback, yield* port("SOCKS_PORT", 1080))
  return SocksServer.layer({ listen: [address] })
})).pipe(
  Layer.provide([MyAuthenticator, MyPolicy]),
  // Everything that is not provided above: resolver, dialer, log, sockets.
  Layer.provide(SocksServer.defaults)
)

const Routes = Layer.mergeAll(
  HttpRouter.add(
    "GET",
    "/",
    Effect.gen(function*() {
      const sessions = yield* Sessions
      return yield* HttpServerResponse.json(yield* sessions.list)
    })
  ),
  HttpRouter.add(
    "POST",
    "/stop/:id",
    Effect.gen(function*() {
      const sessions = yield* Sessions
      const { id } = yield* HttpRouter.params
      return yield* HttpServerResponse.json({ stopped: yield* sessions.interrupt(Number(id)) })
    })
  )
)

const Web = HttpRouter.serve(Routes, { disableLogger: true }).pipe(
  Layer.provideMerge(
    Layer.unwrap(
      Effect.map(port("HTTP_PORT", 8080), (port) => NodeHttpServer.layer(createServer, { host: "127.0.0.1", port }))
    )
  )
)

const Announce = Layer.effectDiscard(Effect.gen(function*() {
  const proxy = yield* SocksServer
  const web = yield* HttpServer.HttpServer
  for (const address of proxy.addresses) yield* Console.log(`proxy on socks5://${NetAddress.formatInet(address)}`)
  yield* Console.log(`sessions on http://${NetAddress.formatSocketAddress(web.address)}`)
}))

Layer.launch(Announce.pipe(Layer.provide(Web), Layer.provide(Proxy))).pipe(NodeRuntime.runMain)
