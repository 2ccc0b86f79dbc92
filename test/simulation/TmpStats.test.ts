import { it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { run } from "./World.ts"
import { check } from "./Invariants.ts"
const count = (m: Map<string, number>, k: string) => m.set(k, (m.get(k) ?? 0) + 1)
it.live("stats", () => Effect.gen(function*() {
  const reasons = new Map<string, number>(), replies = new Map<string, number>(), out = new Map<string, number>()
  let maxEnd = 0, max = 0
  const from = Number(process.env["FROM"] ?? 1), n = Number(process.env["N"] ?? 2000)
  let bad = 0
  const started = Date.now()
  for (let s = from; s < from + n; s++) {
    const t = Date.now()
    const o = yield* run(s)
    max = Math.max(max, Date.now() - t)
    try { check(o) } catch (e) { if (bad++ < 5) console.log(s, (e as Error).message) }
    for (const r of o.records) {
      count(reasons, r.reason.replaceAll(/\[?[0-9a-f.:]+\]?:\d+/g, "X").replaceAll(/host-\d+/g, "H").replaceAll(/0x../g, "B").replaceAll(/".*"/g,"Q"))
      count(replies, String(r.reply)); maxEnd = Math.max(maxEnd, r.endedAt)
    }
    for (const c of o.clients) count(out, `client ${c.side?.peer.outcome} left=${c.side?.left}`)
    for (const c of o.targets) count(out, `target ${c.side.peer.outcome} left=${c.side.left}`)
  }
  console.log("bad", bad, "ms", Date.now() - started, "max ms", max, "maxEnd", maxEnd)
  console.log([...reasons].sort((a, b) => b[1] - a[1]).slice(0, 45)); console.log(replies, out)
}), 1_000_000)
