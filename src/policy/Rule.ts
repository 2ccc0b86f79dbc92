/** Rules, as `RuleEngine` takes them: values only, however they were written. */
import type * as LogLevel from "effect/LogLevel"
import type * as IpNetwork from "effect/net/IpNetwork"
import type { Egress } from "../transport/Egress.ts"
import type { PortRange } from "../transport/PortRange.ts"
import type { Domain } from "./Domain.ts"
import type { List } from "./List.ts"
import type { TimeWindow } from "./TimeWindow.ts"

/** What a request can be asked about. Each condition that is there has to hold; within one, any of its items will do. */
export interface Conditions {
  readonly users?: ReadonlyArray<string> | undefined
  readonly groups?: ReadonlyArray<string> | undefined
  /** Where clients are; a client without an address is nowhere. Of a list, its networks count. */
  readonly clients?: ReadonlyArray<IpNetwork.IpNetwork | List> | undefined
  /** As `AccessRequest.listener` has them. */
  readonly listeners?: ReadonlyArray<string> | undefined
  readonly protocols?: ReadonlyArray<string> | undefined
  readonly commands?: ReadonlyArray<string> | undefined
  /** Networks are asked about each address that would be dialled, domains about the name that the client sent. */
  readonly to?: ReadonlyArray<IpNetwork.IpNetwork | Domain | List> | undefined
  readonly ports?: ReadonlyArray<PortRange> | undefined
  readonly when?: TimeWindow | undefined
}

export interface Rule {
  /** Default: its number, counted from 1. */
  readonly name?: string | undefined
  readonly conditions: Conditions
  /** None of these may hold. */
  readonly not?: Conditions | undefined
  readonly action: "allow" | "deny"
  /** Of a denial: the reply of RFC 1928 §6, 1 to 8. Default: 2. */
  readonly reply?: number | undefined
  /** Of an allowance: the pool of upstreams to go through; `direct` for none. */
  readonly via?: string | undefined
  /** Of an allowance: where to go out from. */
  readonly egress?: Egress | undefined
  /** Of an allowance: the class of limits that holds. */
  readonly limits?: string | undefined
  /** Of an allowance: the level of the connection's line in the log. */
  readonly log?: LogLevel.LogLevel | undefined
  /** Of an allowance: whether the target is told who the client is. */
  readonly proxyHeader?: boolean | undefined
  /** Of an allowance: whether it opens internal networks too. Those that `to` names it opens anyway. */
  readonly internal?: boolean | undefined
  /** Decides nothing: what it would have done is counted and logged. */
  readonly shadow?: boolean | undefined
}
