/** `sluice` itself: nothing but its subcommands. */
import * as Command from "effect/cli/Command"
import { bench } from "./bench.ts"
import { hash } from "./hash.ts"
import { probe } from "./probe.ts"
import { serve } from "./serve.ts"

export const sluice = Command.make("sluice").pipe(
  Command.withDescription("A SOCKS and HTTP proxy"),
  Command.withSubcommands([serve, hash, bench, probe])
)
