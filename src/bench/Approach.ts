/** Finding the proxy, and one connection through it before there are thousands: what is wrong is said in one line. */
import * as Effect from "effect/Effect"
import * as Host from "effect/net/Host"
import * as NetAddress from "effect/net/NetAddress"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { lookup } from "node:dns/promises"
import * as Os from "node:os"
import * as Negotiation from "../client/Negotiation.ts"
import * as Reply from "../protocol/Reply.ts"
import { type BenchError, failed, unusable } from "./BenchError.ts"
import * as Failure from "./Failure.ts"
import type { Proxy } from "./Message.ts"
import type { Plan } from "./Plan.ts"
import * as ProxyUrl from "./ProxyUrl.ts"
import { Tunnel } from "./Tunnel.ts"

/** Addresses of 127.0.0.0/8 are all there without being set up on Linux only. */
const spreads = (address: string): boolean => process.platform === "linux" && address.startsWith("127.")

/** Where a server listens that listens everywhere. */
const reachable = (address: string): string => address === "0.0.0.0" ? "127.0.0.1" : address === "::" ? "::1" : address

const isOfThisMachine = (address: string): boolean =>
  NetAddress.isLoopback(NetAddress.ipFromStringUnsafe(address)) ||
  Object.values(Os.networkInterfaces()).some((all) => all?.some((one) => one.address === address))

/** Looks the proxy up, once for all connections. */
export const find = Effect.fn("Approach.find")(function*({ proxy, target }: Plan) {
  const url = ProxyUrl.format(proxy)
  const { credentials, protocol, address: { host, port } } = proxy
  const { address: found } = NetAddress.isIpAddress(host)
    ? { address: NetAddress.formatIp(host) }
    : yield* Effect.tryPromise({
      try: () => lookup(host),
      catch: () => failed(`${url}: the host's name has no address; correct it, or give an address`)
    })
  const address = reachable(found)
  if (target === undefined && !isOfThisMachine(address)) {
    return yield* unusable(
      `${url}: is another machine, which can't reach a target on this one's loopback; ` +
        "name a target that it can reach, --target HOST:PORT"
    )
  }
  const way: Proxy = {
    protocol,
    host: address,
    port,
    spread: spreads(address),
    ...credentials !== undefined && { user: credentials.user, password: Redacted.value(credentials.password) }
  }
  return way
})

/** The first line of an answer that no proxy gives; empty when nothing has come. */
const firstLine = (tunnel: Tunnel | undefined): string => {
  const [line = ""] = Buffer.from(tunnel?.heard ?? []).toString("latin1").split(/\r?\n/, 1)
  return line.slice(0, 80)
}

const explain = (kind: string, { proxy }: Plan, target: string, heard: string): string => {
  const login = "write USER:PASSWORD@ before the host"
  const wanted = proxy.protocol === "http" ? "an HTTP proxy" : "SOCKS5"
  if (heard !== "" && [Failure.badAnswer, Failure.closedEarly, Failure.timeout].includes(kind)) {
    return `does not answer as ${wanted}, but with ${JSON.stringify(heard)}`
  }
  switch (kind) {
    case "refused":
      return "connection refused; is the proxy running?"
    case Failure.noMethod:
      return proxy.credentials === undefined ? `asks for a login; ${login}` : "takes no user name and password"
    case Failure.ofStatus("407"):
      return proxy.credentials === undefined ? `asks for a login; ${login}` : "refuses the user name and password"
    case Failure.loginRefused:
      return "refuses the user name and password"
    case Failure.badAnswer:
      return `does not answer as ${wanted}`
    case Failure.closedEarly:
      return "closes the connection"
    case Failure.timeout:
      return "no answer within the --timeout"
  }
  const reply = /^reply (.*)$/.exec(kind)?.[1]
  if (reply !== undefined) return `reply ${reply} (${Reply.describe(Number.parseInt(reply, 16))}) for ${target}`
  return `${kind} for ${target}`
}

/** Opens one connection to the target; sends a byte and wants it back where the target is to echo. */
export const probe = (plan: Plan, proxy: Proxy, target: string): Effect.Effect<void, BenchError> => {
  const negotiation = Negotiation.make(plan.proxy)
  const echoes = plan.mode !== "bulk" || plan.target === undefined
  const url = ProxyUrl.format(plan.proxy)
  let isOpen = false
  let tried: Tunnel | undefined
  const failure = (kind: string): BenchError =>
    failed(
      isOpen && plan.target !== undefined
        ? `--target: ${target} does not echo (${kind}); --mode ${plan.mode} needs an echo service, port 7 by RFC 862`
        : `${url}: ${explain(kind, plan, target, firstLine(tried))}`
    )
  return Effect.callback<void, BenchError>((resume) => {
    const tunnel = new Tunnel(
      { ...proxy, negotiation },
      Result.getOrThrow(negotiation.request(Host.hostPortFromStringUnsafe(target)))
    )
    tried = tunnel
    const done = (): void => {
      tunnel.close()
      resume(Effect.void)
    }
    tunnel.onFailure = (kind) => resume(Effect.fail(failure(kind)))
    tunnel.onOpen = () => {
      isOpen = true
      if (!echoes) return done()
      tunnel.onData = (chunk) => {
        if (chunk.length === 1 && chunk[0] === 42) done()
        else tunnel.fail(Failure.wrongBytes)
      }
      tunnel.write(Buffer.of(42))
    }
    return Effect.sync(() => tunnel.close())
  }).pipe(
    Effect.timeoutOrElse({ duration: plan.timeout, orElse: () => Effect.fail(failure(Failure.timeout)) })
  )
}
