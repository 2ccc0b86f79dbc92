/** Plain `http://` URLs by an HTTP proxy: a request in absolute form, and no tunnel (RFC 9112 §3.2.2). */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import type { ProxyError } from "../client/ProxyError.ts"
import * as BasicCredentials from "../protocol/BasicCredentials.ts"
import * as HttpConnectReply from "../protocol/HttpConnectReply.ts"
import * as Text from "../protocol/Text.ts"
import * as Check from "./Check.ts"
import { fail, type Found, ok, warn } from "./Finding.ts"
import { page, type Targets } from "./Targets.ts"
import { describe } from "./Trouble.ts"

export const name = "HTTP forwarding"

const notServed = (why: string): Found => warn(`not served: ${why}`, "no http:// URLs through it, https:// ones alone")

export const check = ({ proxy, timeout }: Check.Probing, { web }: Targets, host: Host.Host) => {
  const target = Host.formatHostPort(Host.hostPortUnsafe(host, web.port))
  const { credentials } = proxy.url
  const login = credentials === undefined
    ? ""
    : `Proxy-Authorization: ${
      BasicCredentials.print({ username: credentials.user, password: credentials.password })
    }\r\n`
  const request = `GET http://${target}/ HTTP/1.1\r\nHost: ${target}\r\n${login}Connection: close\r\n\r\n`

  return Check.run(
    name,
    timeout,
    Effect.gen(function*() {
      const talk = yield* proxy.open
      const reply = yield* Effect.result(
        Effect.andThen(talk.say(Text.encode(request)), talk.read(HttpConnectReply.codec))
      )
      if (reply._tag === "Failure") {
        const error: ProxyError = reply.failure
        return error._tag === "ProxyUnreachable" ? notServed(describe(error)) : fail(describe(error))
      }
      const { status } = reply.success
      if (status !== 200) return notServed(`status ${status}`)
      const came = yield* talk.readToEnd((bytes) => Buffer.from(bytes).includes(page))
      if (!Buffer.from(came).includes(page)) return fail("another page came than the target has sent")
      return /^proxy-authorization:/im.test(web.head())
        ? fail("the login is passed on to the target", "whoever is visited learns it: don't go to http:// URLs there")
        : ok(`GET http://${target}/`)
    })
  )
}
