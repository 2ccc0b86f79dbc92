/** All checks, one after the other; what one has shown to be useless is not tried. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as ProxyUrl from "../client/ProxyUrl.ts"
import { Datagrams } from "../transport/Datagrams.ts"
import { Dialer } from "../transport/Dialer.ts"
import * as DnsResolver from "../transport/DnsResolver.ts"
import * as NodeDatagrams from "../transport/NodeDatagrams.ts"
import * as NodeTransport from "../transport/NodeTransport.ts"
import { Resolver } from "../transport/Resolver.ts"
import { Transport } from "../transport/Transport.ts"
import * as Bind from "./Bind.ts"
import * as Check from "./Check.ts"
import * as Codes from "./Codes.ts"
import * as Connect from "./Connect.ts"
import type { Finding } from "./Finding.ts"
import * as Forward from "./Forward.ts"
import * as Ground from "./Ground.ts"
import * as Login from "./Login.ts"
import type { Plan } from "./Plan.ts"
import * as Proxy from "./Proxy.ts"
import * as Reach from "./Reach.ts"
import * as Report from "./Report.ts"
import * as Resolve from "./Resolve.ts"
import * as Stream from "./Stream.ts"
import * as Throughput from "./Throughput.ts"
import * as Times from "./Times.ts"
import * as Udp from "./Udp.ts"

/** Those that tell of single commands, of the bytes of a connection, and of its speed. */
const commands = [...Udp.names, Bind.name, Resolve.name, Forward.name]
const bytes = ["half-close", "early data"]
const speed = ["source address", ...Times.names, ...Throughput.names]

/** In the order of the report. */
const all = ["methods", ...Login.names, ...Connect.names, ...commands, ...bytes, ...Codes.names, ...speed]

const onlySocks5 = "only SOCKS5 has it"
const onlySocks = "only SOCKS has it"
const onlyHttp = "only HTTP has it"

const skipAll = (why: string) => Check.skip(why, all)

const rest = Effect.fnUntraced(function*(plan: Plan, proxy: Proxy.Proxy) {
  const { timeout } = plan
  const ground = yield* Ground.make(plan, proxy)
  const probing: Check.Probing = { proxy, ground, timeout }
  const isSocks5 = proxy.family === "socks5"

  const findings: Array<Finding> = [
    ...isSocks5 ? [yield* Login.methods(probing)] : Check.skip(onlySocks5, ["methods"])
  ]
  const failed = (wanted: string) => findings.some(({ name, verdict }) => name === wanted && verdict === "fail")
  /** Whatever has not been told yet is skipped. */
  const end = (why: string) => {
    const told = new Set(findings.map(({ name }) => name))
    return [...findings, ...Check.skip(why, all.filter((name) => !told.has(name)))]
  }
  if (failed("methods")) return end("of no use: see methods")

  findings.push(...yield* Login.logins(probing, Ground.somewhere(ground)))
  if (failed("login")) return end("of no use: see login")

  const { answers, findings: connects, reached } = yield* Connect.check(probing)
  const [host] = reached
  findings.push(...connects)
  const tried = connects.some(({ verdict }) => verdict === "fail")
  if (!answers && tried) return end("of no use: see CONNECT")

  // Other commands may be served even when nothing came through, and some replies do not depend on a destination.
  const { targets } = ground
  const isHttp = proxy.family === "http"
  findings.push(
    ...isSocks5 ? yield* Udp.check(probing) : Check.skip(onlySocks5, Udp.names),
    ...isHttp ? Check.skip(onlySocks, [Bind.name]) : [yield* Bind.check(probing)],
    ...isSocks5 ? [yield* Resolve.check(probing)] : Check.skip(onlySocks5, [Resolve.name]),
    ...!isHttp
      ? Check.skip(onlyHttp, [Forward.name])
      : host !== undefined && targets !== undefined
      ? [yield* Forward.check(probing, targets, host)]
      : [],
    ...host !== undefined && targets !== undefined
      ? [yield* Stream.halfClose(probing, targets, host), yield* Stream.earlyData(probing, targets, host)]
      : [],
    ...yield* Codes.check(probing),
    ...host !== undefined
      ? [yield* Connect.sourceAddress(probing, reached), ...yield* Times.check(probing, host)]
      : [],
    ...host !== undefined && targets !== undefined ? yield* Throughput.check(probing, targets, host) : []
  )
  if (host !== undefined) return end("only a target of our own can tell")
  return end(tried ? "nothing comes through" : connects[0]?.detail ?? "")
})

const probe = Effect.fnUntraced(function*(plan: Plan) {
  const ways = { transport: yield* Transport, datagrams: yield* Datagrams }
  const [reachable, address] = yield* Reach.reachable({ dialer: yield* Dialer, resolver: yield* Resolver }, plan)
  const report = (findings: ReadonlyArray<Finding>) =>
    Report.make(ProxyUrl.format(plan.proxy), [reachable, ...findings])
  const hasTls = plan.proxy.protocol === "https"
  const noTls = Check.skip("the URL has none", ["TLS"])
  if (address === undefined) return report([...Check.skip("not reachable", ["TLS"]), ...skipAll("not reachable")])

  const proxy = Proxy.make({ ...ways, url: plan.proxy, address })
  const tls = hasTls ? [yield* Reach.tls(proxy, plan.timeout)] : noTls
  if (tls[0]?.verdict === "fail") return report([...tls, ...skipAll("no TLS")])
  return report([...tls, ...yield* rest(plan, proxy)])
})

const transport = NodeTransport.layer()
const layer = Layer.mergeAll(
  transport,
  NodeDatagrams.layer(),
  DnsResolver.layer(),
  Layer.provide(Dialer.layer(), transport)
)

/** Never fails: what does is a finding. */
export const run = (plan: Plan): Effect.Effect<Report.Report> => Effect.provide(Effect.scoped(probe(plan)), layer)
