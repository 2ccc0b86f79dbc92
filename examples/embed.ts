/**
 * Sluice inside a larger Effect program: the proxy next to an HTTP server, with
 * an authenticator and an access policy of one's own.
 *
 * Run it: `npm run build && npm run example`, then
 * `curl --socks5-hostname ann:sesame@127.0.0.1:PORT http://localhost:PORT/`.
 */
import * as NodeHttpServer from "@effect/platform-node/NodeHttpServer"
import * as NodeRuntime from "@effect/platform-node/NodeRuntime"
import * as Effect from "effect/Effect"
import * as HttpRouter from "effect/http/HttpRouter"
import * as HttpServer from "effect/http/HttpServer"
import * as HttpServerResponse from "effect/http/HttpServerResponse"
import * as Layer from "effect/Layer"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import { createServer } from "node:http"
import { AccessDenied, AccessPolicy, AuthenticationFailed, Authenticator, Sessions, SocksServer } from "sluice"
