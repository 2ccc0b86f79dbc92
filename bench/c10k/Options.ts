/**
 * What the runner was asked for.
 */
import * as Util from "node:util"

export const usage = `npm run bench:c10k -- [options]
  --quick         100 and 1,000 open connections only, and shorter
  --only NAME,... these contenders only; --list prints their names
  --peers         the peer table instead: CPU per GB, connection and round trip, memory, each beside sluice
  --udp           the table of those that relay datagrams instead
  --runs N        measure the peers N times, report medians (default 3)
  --hev PATH      an executable hev-socks5-server, to be measured too
  --json FILE     what was measured, as JSON
  --write         what was measured into docs/c10k.json, and docs/c10k.md with its charts from that
  --render        nothing is measured: docs/c10k.md and its charts from docs/c10k.json
  --list          the names of the contenders, and what is missing here
`

export interface Options {
  readonly quick: boolean
  readonly only: ReadonlyArray<string> | undefined
  readonly peers: boolean
  readonly udp: boolean
  readonly runs: number
  readonly hev: string | undefined
  readonly json: string | undefined
  readonly write: boolean
  readonly render: boolean
  readonly list: boolean
  readonly help: boolean
}

/** Reads the command line's words. Throws an `Error` whose message says what is wrong. */
export const parse = (args: ReadonlyArray<string>): Options => {
  const { values } = Util.parseArgs({
    args: [...args],
    options: {
      quick: { type: "boolean", default: false },
      only: { type: "string" },
      peers: { type: "boolean", default: false },
      udp: { type: "boolean", default: false },
      runs: { type: "string", default: "3" },
      hev: { type: "string" },
      json: { type: "string" },
      write: { type: "boolean", default: false },
      render: { type: "boolean", default: false },
      list: { type: "boolean", default: false },
      help: { type: "boolean", default: false }
    }
  })
  const runs = Number(values.runs)
  if (!Number.isInteger(runs) || runs < 1 || runs > 100) {
    throw new Error(`--runs must be a whole number from 1 to 100, not ${values.runs}`)
  }
  if (values.peers && values.udp) throw new Error("--peers and --udp are two runs")
  if (values.write && (values.quick || values.only !== undefined)) {
    throw new Error("--write is for a whole run: without --quick and --only")
  }
  return { ...values, runs, only: values.only?.split(","), hev: values.hev, json: values.json }
}
