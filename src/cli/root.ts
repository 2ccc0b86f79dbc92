/** `sluice` itself: nothing but its subcommands. */
import * as Command from "effect/cli/Command"
import { bench } from "./bench.ts"
import { check } from "./check.ts"
import { config } from "./config.ts"
import { explain } from "./explain.ts"
import { hash } from "./hash.ts"
import { probe } from "./probe.ts"
import { serve } from "./serve.ts"
import { user } from "./user.ts"

export const sluice = Command.make("sluice").pipe(
  Command.withDescription("A SOCKS and HTTP proxy"),
  Command.withSubcommands([serve, check, explain, config, hash, user, bench, probe])
)
