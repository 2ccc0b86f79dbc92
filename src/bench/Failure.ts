/** The kinds of failure that are counted, each a few words: `refused`, `reply 05`, `wrong bytes`. */
import type { NegotiationError } from "../client/ProxyError.ts"

export const timeout = "timeout"
/** The work was over, and the answer had still not come. */
export const unanswered = "unanswered at the end"
export const wrongBytes = "wrong bytes"
export const closedEarly = "closed early"
export const badAnswer = "bad answer"
export const loginRefused = "login refused"
export const noMethod = "no acceptable method"

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "refused",
  ECONNRESET: "reset",
  EPIPE: "reset",
  ETIMEDOUT: timeout,
  EMFILE: "no open files left",
  ENFILE: "no open files left",
  EADDRINUSE: "no ports left",
  EADDRNOTAVAIL: "no ports left"
}

/** The kind of a system's error code. */
export const ofCode = (code: string | undefined): string => code === undefined ? "error" : words[code] ?? code

export const ofReply = (code: number): string => `reply ${code.toString(16).padStart(2, "0")}`

export const ofStatus = (status: string): string => `status ${status}`

/** The kind of what the talk with a proxy failed with. */
export const ofProxyError = (error: NegotiationError): string => {
  switch (error._tag) {
    case "ReplyError":
      return ofReply(error.code)
    case "StatusError":
      return ofStatus(String(error.status))
    case "MethodRefused":
      return noMethod
    case "LoginRefused":
      return loginRefused
    case "BadAnswer":
      return badAnswer
  }
}

/** How often each kind came. */
export type Counts = Readonly<Record<string, number>>

export const add = (counts: Record<string, number>, kind: string, times = 1): void => {
  counts[kind] = (counts[kind] ?? 0) + times
}

export const sum = (all: ReadonlyArray<Counts>): Counts => {
  const counts: Record<string, number> = {}
  for (const one of all) {
    for (const [kind, times] of Object.entries(one)) add(counts, kind, times)
  }
  return counts
}

export const total = (counts: Counts): number => Object.values(counts).reduce((sum, times) => sum + times, 0)

/** `12 refused, 3 timeout`, the most frequent first. */
export const format = (counts: Counts): string =>
  Object.entries(counts).sort(([, a], [, b]) => b - a).map(([kind, times]) => `${times} ${kind}`).join(", ")
