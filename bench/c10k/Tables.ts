/**
 * Results as Markdown.
 */
import * as Results from "./Results.ts"

const grouped = (value: number): string => Math.round(value).toLocaleString("en-US")

const fixed = (value: number | undefined, digits: number): string =>
  value === undefined || !Number.isFinite(value) ? "–" : value.toFixed(digits)

/** Three significant digits are more than two noisy cores can vouch for. */
const figure = (value: number): string =>
  value >= 100 ? grouped(value) : value >= 10 ? fixed(value, 0) : value >= 1 ? fixed(value, 1) : fixed(value, 2)

/** The first column is text, and with `prose` the last one too. */
const table = (head: ReadonlyArray<string>, rows: ReadonlyArray<ReadonlyArray<string>>, prose = false): string =>
  [head, head.map((_, at) => at === 0 || (prose && at === head.length - 1) ? "---" : "--:"), ...rows].map((cells) =>
    `| ${cells.join(" | ")} |`
  ).join("\n") +
  "\n"

const where = ({ absent, command, machine }: Results.Ladder | Results.Peers): string => {
  const missing = absent.map(({ name, why }) => `${name} (${why})`).join(", ")
  return `\`${command}\`, ${machine.date}. ${machine.kind}, ${machine.kernel}, Node ${machine.node}, at most ` +
    `${grouped(machine.descriptors)} descriptors a process.${missing === "" ? "" : ` Left out: ${missing}.`}\n`
}

const columns = [
  { title: "CPU-µs a round trip", of: (level: Results.Level) => level.cpu },
  { title: "p99 of a round trip, ms", of: (level: Results.Level) => level.p99 },
  { title: "KiB of PSS a connection", of: (level: Results.Level) => level.memory },
  {
    title: "KiB of kernel memory a connection, its two other ends included",
    of: (level: Results.Level) => level.kernel
  }
] as const

const cell = (level: Results.Level | undefined, of: (level: Results.Level) => number): string => {
  if (level === undefined) return "–"
  const value = of(level)
  // A heap that was collected meanwhile is smaller than before the first connection.
  return (value < 0 ? "–" : figure(value)) + (level.open < level.asked ? " *" : "")
}

const then = (limit: Results.Limit): string => {
  const idle = limit.idleCores > 0.5 ? `spins (${limit.idleCores.toFixed(2)} cores with nothing to do)` : "waits"
  const again = limit.servesAgain >= 50
    ? "serves again when some have left"
    : limit.servesAgain > 0
    ? `serves ${limit.servesAgain} of 50 when 100 have left`
    : "serves nobody any more, even when 100 have left"
  return `${idle}; ${again}`
}

const ends = (climbs: ReadonlyArray<Results.Climb>): string => {
  const rows = climbs.flatMap(({ failed, levels, limit, name }) => {
    if (failed !== undefined) return [[name, grouped(levels.at(-1)?.open ?? 0), "–", `given up: ${failed}`]]
    if (limit === undefined) return []
    return [[name, grouped(limit.held), limit.descriptors.toFixed(1), then(limit)]]
  })
  const all = climbs.filter(({ failed, limit }) => failed === undefined && limit === undefined).map(({ name }) => name)
  const rest = all.length === 0 ? "" : `\nAll connections were had by: ${all.join(", ")}.\n`
  return (rows.length === 0 ? "" : table(["contender", "held", "descriptors each", "then"], rows, true)) + rest
}

const lost = (climbs: ReadonlyArray<Results.Climb>): string => {
  const parts = climbs.flatMap(({ levels, name }) => {
    const missing = levels.reduce((sum, level) => sum + level.open - level.echoed, 0)
    return missing === 0 ? [] : [`${name} ${missing}`]
  })
  return parts.length === 0
    ? "Every connection that was established also echoed.\n"
    : `Connections that were established but did not echo: ${parts.join(", ")}.\n`
}

/** The tables of a ladder: what grows and what ends. */
export const ladder = (ladder: Results.Ladder): string => {
  const asked = [...new Set(ladder.climbs.flatMap((climb) => climb.levels.map((level) => level.asked)))].sort((a, b) =>
    a - b
  )
  let text = where(ladder)
  for (const { of, title } of columns) {
    const rows = ladder.climbs.map(({ levels, name }) => [
      name,
      ...asked.map((count) => cell(levels.find((level) => level.asked === count), of))
    ])
    text += `\n${table([`${title}, of open connections`, ...asked.map(grouped)], rows)}`
  }
  if (ladder.climbs.some((climb) => climb.limit !== undefined)) {
    text += "\n\\* fewer were open, for it ended before:\n"
  }
  const busiest = Math.max(0, ...ladder.climbs.flatMap((climb) => climb.levels.map((level) => level.others)))
  return `${text}\n${ends(ladder.climbs)}\n${lost(ladder.climbs)}` +
    `Other work on the machine used at most ${busiest.toFixed(2)} cores in a measured window.\n`
}

/** The 10,000 connections over two workers, in one line. */
export const workers = ({ climbs }: Results.Ladder): string => {
  const climb = climbs.find(({ name }) => name === "sluice-2")
  const top = climb?.levels.at(-1)
  if (top === undefined) return ""
  const kinds = Object.entries(top.errors).map(([what, count]) => `${what} (${count} times)`).join(", ")
  return `Two workers: ${grouped(top.open)} of ${grouped(top.asked)} established, ${grouped(top.echoed)} echoed, ` +
    `${grouped(top.open - top.echoed)} lost, p99 ${fixed(top.p99, 1)} ms at ${grouped(top.rate)} echoes a second, ` +
    `${fixed(top.memory, 1)} KiB a connection${kinds === "" ? "" : `; errors: ${kinds}`}.\n`
}

const cost = (samples: ReadonlyArray<number | null> | undefined): number =>
  Results.median((samples ?? []).filter((sample) => sample !== null))

/** What each peer costs, and how many times that is what Sluice costs. */
export const peers = (peers: Results.Peers): string => {
  const reference = peers.names.indexOf("sluice")
  const rows = peers.names.map((name, index) => [
    name,
    ...peers.rows.map(({ digits, rates, samples }) => {
      const own = cost(samples[index])
      const ratio = own / cost(samples[reference])
      if (!Number.isFinite(own)) return "failed"
      const rate = rates === undefined ? "" : `, ${grouped(cost(rates[index]))} a second`
      return fixed(own, digits) + rate + (Number.isFinite(ratio) && index !== reference ? ` (${fixed(ratio, 2)})` : "")
    })
  ])
  let text = `${where(peers)}\n${table(["proxy", ...peers.rows.map((row) => row.title)], rows)}\n` +
    `Medians of ${peers.runs} ${peers.runs === 1 ? "run" : "runs"}; in brackets, how many times what sluice takes.\n`
  const failures = peers.rows.flatMap(({ errors, title }) =>
    errors.flatMap((counts, index) =>
      Object.entries(counts).map(([what, count]) => `${peers.names[index]}, ${title}: ${what} (${count} times)`)
    )
  )
  if (failures.length > 0) text += `\nErrors:\n\n${failures.map((failure) => `- ${failure}\n`).join("")}`
  return text
}

const gib = (kibibytes: number): string => `${fixed(kibibytes / 2 ** 20, 1)} GiB`

/** What a million would take, if each took what each took here. */
export const million = ({ ladder, peers }: Results.Results): string => {
  const count = 1e6
  const climbs = ladder?.climbs ?? []
  const one = climbs.find(({ name }) => name === "sluice-2") ?? climbs.find(({ name }) => name === "sluice")
  const top = one?.levels.at(-1)
  if (top === undefined) return ""
  const rate = peers?.rows.find((row) => row.title.startsWith("CPU-µs per connection"))
  const visit = cost(rate?.samples[peers?.names.indexOf("sluice") ?? -1])
  const trips = count / 100 * 20
  const born = count / 600
  const rows = [
    ["descriptors", "2", `${grouped(2 * count)}, by workers of 1,000,000 (\`fs.nr_open\`): 2 at least`],
    ["the processes' memory", `${fixed(top.memory, 1)} KiB`, gib(top.memory * count)],
    [
      "the kernel's memory for idle sockets",
      `${fixed(top.kernel / 2, 1)} KiB (half of ${fixed(top.kernel, 1)}: client and target were here too)`,
      gib(top.kernel / 2 * count)
    ],
    ["`nf_conntrack`, if it is loaded", "2 entries of 320 bytes", gib(2 * count * 320 / 1024)],
    [
      `1 % active, 20 messages a second each: ${grouped(trips)} round trips a second`,
      `${fixed(top.cpu, 0)} µs`,
      `${fixed(trips * top.cpu / 1e6, 1)} cores`
    ],
    ...(Number.isFinite(visit)
      ? [[
        `a life of 10 minutes: ${grouped(born)} new connections a second`,
        `${fixed(visit, 0)} µs`,
        `${fixed(born * visit / 1e6, 1)} cores`
      ]]
      : [])
  ]
  return table(["", "one, as measured", "a million"], rows, true)
}
