/** What is said between who keeps limits, bans and sessions and who asks for them, over a channel that keeps the order. */
import * as Schema from "effect/Schema"
import { limited } from "./LimitStore.ts"

const Count = Schema.Int.check(Schema.isGreaterThanOrEqualTo(0))

/** A flow, by a number that stands for the same one as long as a lease of the channel has it, and its burst. */
const Flow = Schema.Tuple([Count, Count])

/** Who a client is, and the class that it has. */
const identity = {
  user: Schema.optionalKey(Schema.String),
  groups: Schema.optionalKey(Schema.Array(Schema.String)),
  limits: Schema.optionalKey(Schema.String)
}

/** What holds for a lease. */
const terms = {
  up: Schema.Array(Flow),
  down: Schema.Array(Flow),
  packets: Schema.Array(Flow),
  /** Where its bytes count for somebody, how many it may move before they are counted. */
  ahead: Schema.optionalKey(Count)
}

const exceeded = { limit: Schema.Literals(limited), words: Schema.String }

const Ban = Schema.Struct({ client: Schema.String, until: Schema.Number, why: Schema.String })

export const ToKeeper = Schema.TaggedUnion({
  /** Somebody listens now. Answered by `Strangers`, and each `Banned` that there is. */
  Hello: {},
  /** May a session begin? Answered by `Admitted` or `Refused`; the id is the lease's from then on. */
  Ask: {
    id: Count,
    ...identity,
    /** An address, as text. */
    client: Schema.optionalKey(Schema.String),
    /** Whether it has not said yet who it is: of such, no quota is asked. */
    isStranger: Schema.optionalKey(Schema.Boolean)
  },
  /** May it go on as this one? Answered as `Ask`; when it is refused, nothing has changed. */
  Identify: { id: Count, ...identity },
  /** It goes on as this one. */
  Reidentify: { id: Count, ...identity },
  /** A session has ended, or does not wait for the answer any more. */
  Release: { id: Count },
  /** Bytes that sessions have moved since the last time. Answered by `Counted`. */
  Used: { sessions: Schema.Array(Schema.Tuple([Count, Count])) },
  /** So much waits for a flow, of so many. Answered by `Share`. */
  Demand: { flow: Count, amount: Count, waiting: Count },
  /** What is left of the shares of a flow that no session has any more. */
  Return: { flow: Count, amount: Count },
  /** What is to be done about a client. Answered by `Judged`. */
  Judge: {
    id: Count,
    /** An address, as text. */
    client: Schema.String,
    what: Schema.Union([
      Schema.TaggedStruct("LoginFailed", {}),
      Schema.TaggedStruct("Ban", { milliseconds: Count, why: Schema.String }),
      Schema.TaggedStruct("Lift", {})
    ])
  },
  /** One whose logins have failed before. */
  LoggedIn: { client: Schema.String },
  /** Under which tag a session is known, that stays the same for so long. Answered by `Tagged`. */
  Tag: { id: Count, user: Schema.String, session: Schema.String, milliseconds: Count }
})
export type ToKeeper = typeof ToKeeper.Type

export const FromKeeper = Schema.TaggedUnion({
  Admitted: { id: Count, ...terms },
  /** Something else holds for it from now on. */
  Changed: { id: Count, ...terms },
  /** Whether those count who have not said who they are; else nobody has to ask about them before they have. */
  Strangers: { count: Schema.Boolean },
  Refused: { id: Count, ...exceeded },
  /** Bytes of sessions, and how many they may move before they are counted from now on. */
  Counted: { sessions: Schema.Array(Schema.Tuple([Count, Count, Count])) },
  /** A quota that the session has a part in is used up. */
  Exhausted: { id: Count, ...exceeded },
  Share: { flow: Count, amount: Count },
  /** `failures` is how many logins have failed; a ban that was lifted is told too. */
  Judged: { id: Count, failures: Count, ban: Schema.optionalKey(Ban) },
  /** To everybody: a login of this client has failed, which its next one makes up for. */
  Failing: { client: Schema.String },
  /** To everybody, before who asked for it is answered. */
  Banned: { ban: Ban },
  Lifted: { client: Schema.String },
  Tagged: { id: Count, tag: Schema.String }
})
export type FromKeeper = typeof FromKeeper.Type

/** As JSON. */
export const encode = {
  toKeeper: Schema.encodeSync(ToKeeper),
  fromKeeper: Schema.encodeSync(FromKeeper)
}

/** `none` for what is no such message. */
export const decode = {
  toKeeper: Schema.decodeUnknownOption(ToKeeper),
  fromKeeper: Schema.decodeUnknownOption(FromKeeper)
}
