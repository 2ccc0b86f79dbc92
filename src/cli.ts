#!/usr/bin/env node
import * as Command from "effect/cli/Command"
import { hash } from "./cli/hash.ts"
import { main } from "./cli/main.ts"
import { serve } from "./cli/serve.ts"

main(
  Command.make("sluice").pipe(
    Command.withDescription("A SOCKS5 proxy"),
    Command.withSubcommands([serve, hash])
  )
)
