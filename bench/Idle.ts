/** What a connection costs that is open and says nothing. */
import * as Timers from "node:timers/promises"
import type * as Client from "./Client.ts"
import { below, each, Errors, exchange, type Load, Meter } from "./Load.ts"
import * as Proc from "./Proc.ts"

/** KiB by which the proxy's PSS grows for each connection that was used once and is kept open. */
export const idle = (count: number): Load["run"] => async (proxy, target) => {
  const errors = new Errors()
  const clients: Array<Client.Client> = []
  // The young generation grows to its full size under any load at all; that is no connection's price.
  await each(errors, below(1_000), async (number) => (await exchange(proxy, target.echo, number)).close())
  await Timers.setTimeout(1_000)
  const before = Proc.pss(proxy.pid)
  const meter = new Meter(proxy, target)
  const work = await each(errors, below(count), async (number) => {
    const client = await exchange(proxy, target.echo, number)
    client.hurry(false)
    client.onClose = (reason) => errors.add(`idle: ${reason ?? "closed by the proxy"}`)
    clients.push(client)
  })
  let after = Number.POSITIVE_INFINITY
  for (let sample = 0; sample < 6; sample++) {
    await Timers.setTimeout(500)
    after = Math.min(after, Proc.pss(proxy.pid))
  }
  const { cpu: _cpu, ...rest } = meter.read()
  await Promise.all(clients.map((client) => client.close()))
  return { ...rest, work, cost: (after - before) / work, errors: errors.counts }
}
