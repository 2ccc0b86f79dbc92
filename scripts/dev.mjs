/** `npm run dev`: bundles the program and runs it. `node --watch-path` starts this anew when a source changes. */
import { execFileSync } from "node:child_process"

// A restart must not wait for the connections of the version before.
process.env.SLUICE_DRAIN_TIMEOUT ??= "0"

// A worker runs what its supervisor runs.
if (process.env.SLUICE_WORKER === undefined) {
  try {
    execFileSync("npm", ["run", "--silent", "bundle"], { stdio: "inherit" })
  } catch {
    // esbuild has said what is wrong.
    process.exit(1)
  }
}
await import("../dist/cli.js")
