/** What is to be measured, and how. */
import type * as Host from "effect/net/Host"
import type { Mode } from "./Load.ts"
import type { ProxyUrl } from "./ProxyUrl.ts"

export interface Plan {
  readonly proxy: ProxyUrl
  readonly mode: Mode
  readonly connections: number
  /** Pieces of work a second; as many as go when absent. */
  readonly rate?: number
  /** All in milliseconds. */
  readonly duration: number
  readonly warmUp: number
  readonly timeout: number
  /** The operator's own target; ours when absent. */
  readonly target?: Host.HostPort
  /** The proxy's process. */
  readonly pid?: number
  readonly generators?: number
}

/** What a bulk stream of somebody else's target has in it can't be known; all else is compared. */
export const isChecked = ({ mode, target }: Plan): boolean => mode !== "bulk" || target === undefined

/** One piece of work, as rates and prices name it. */
export const unit: Readonly<Record<Mode, { readonly one: string; readonly many: string }>> = {
  rate: { one: "connection", many: "connections" },
  bulk: { one: "GB", many: "bytes" },
  "round-trip": { one: "round trip", many: "round trips" },
  idle: { one: "connection", many: "connections" }
}
