/** Where to go out from, as users and rules of a configuration file have it. */
import * as Schema from "effect/Schema"
import * as Egress from "../transport/Egress.ts"
import * as Fields from "./Fields.ts"
import * as FileValue from "./FileValue.ts"

// Nothing could go out from none.
const Sources = FileValue.nonEmpty(
  FileValue.listOf(FileValue.as(Fields.EgressSource), {
    description: "Addresses, networks or interfaces of this machine"
  }),
  "is empty; write an address of this machine, or leave egress out"
)

const Chosen = Schema.Struct({
  from: Sources,
  by: Schema.optionalKey(
    FileValue.choice(Egress.choices, { description: "Which of several, as `egressBy` has it", default: "rotate" })
  )
}).annotate({ expected: "a map with from" })

/** A list of sources, or `{ from, by }`. */
export const egress = (description: string): FileValue.FromFile<Egress.Egress> =>
  FileValue.mapped(
    Schema.Union([Chosen, Sources]).annotate({ description, expected: "a list of addresses, or a map with from" }),
    (given) => "from" in given ? Egress.make(given.from, given.by) : Egress.make(given)
  )
