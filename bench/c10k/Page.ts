/**
 * `docs/c10k.md`: its prose is written by hand, its figures stand between markers and are replaced.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Path from "node:path"
import * as Charts from "./Charts.ts"
import type * as Results from "./Results.ts"
import * as Tables from "./Tables.ts"

/** Puts `content` between `<!-- marker -->` and `<!-- /marker -->`. Throws when they aren't there. */
export const replace = (page: string, marker: string, content: string): string => {
  const [open, close] = [`<!-- ${marker} -->`, `<!-- /${marker} -->`]
  const [start, end] = [page.indexOf(open), page.indexOf(close)]
  if (start === -1 || end < start) throw new Error(`the page has no ${open} … ${close}`)
  return `${page.slice(0, start + open.length)}\n\n${content.trim()}\n\n${page.slice(end)}`
}

/** Renews the page and its charts in the repository's directory `root`, as far as there are results. */
export const render = async (root: string, results: Results.Results): Promise<void> => {
  const file = Path.join(root, "docs/c10k.md")
  let page = Fs.readFileSync(file, "utf8")
  if (results.ladder !== undefined) {
    for (const chart of Charts.charts) {
      Fs.writeFileSync(Path.join(root, "docs", chart.file), `${await Charts.svg(results.ladder, chart)}\n`)
    }
    page = replace(page, "ladder", Tables.ladder(results.ladder))
    page = replace(page, "workers", Tables.workers(results.ladder))
  }
  if (results.peers !== undefined) page = replace(page, "peers", Tables.peers(results.peers))
  if (results.udp !== undefined) page = replace(page, "udp", Tables.peers(results.udp))
  page = replace(page, "million", Tables.million(results))
  Fs.writeFileSync(file, page)
  // It aligns the tables; `npm run lint` wants them so.
  ChildProcess.execFileSync("npx", ["dprint", "fmt", "docs/c10k.md", "docs/c10k.json"], { cwd: root, stdio: "ignore" })
}
