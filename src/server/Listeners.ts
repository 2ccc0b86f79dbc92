/** Where a server listens: sockets that stay open as long as their address is wanted. */
import * as Arr from "effect/Array"
import * as Effect from "effect/Effect"
import * as Equal from "effect/Equal"
import * as Exit from "effect/Exit"
import * as NetAddress from "effect/net/NetAddress"
import * as Scope from "effect/Scope"
import * as ListenAddress from "../transport/ListenAddress.ts"
import { type Accept, type Listener, ListenError, type Transport } from "../transport/Transport.ts"
import type * as Introduction from "./Introduction.ts"

type Addresses = ReadonlyArray<ListenAddress.ListenAddress>

const isAnyIpv6 = (address: NetAddress.IpAddress) =>
  NetAddress.isIpv6Address(address) && NetAddress.isUnspecified(address)

const isAnyIpv4 = (address: NetAddress.IpAddress) =>
  NetAddress.isIpv4Address(address) && NetAddress.isUnspecified(address)

/** Whether IPv4 clients of an address are another listener's: that of `0.0.0.0` on the same port. */
const isIpv6Only = (listen: ListenAddress.ListenAddress, all: Addresses): boolean => {
  const own = ListenAddress.inetOf(listen)
  return own !== undefined && isAnyIpv6(own.address) && all.some((other) => {
    const inet = ListenAddress.inetOf(other)
    return inet?.port === own.port && isAnyIpv4(inet.address)
  })
}

/** Whether an address among others is the same listener as before among those. */
export const stays = (address: ListenAddress.ListenAddress, before: Addresses, after: Addresses): boolean => {
  const isOne = (other: ListenAddress.ListenAddress) => Equal.equals(other, address)
  return before.some(isOne) && after.some(isOne) && isIpv6Only(address, before) === isIpv6Only(address, after)
}

/** Listens on one of several addresses. */
export const listenOn = (
  transport: Transport["Service"],
  address: ListenAddress.ListenAddress,
  all: Addresses,
  accept: Accept,
  isBalancer?: Introduction.IsBalancer
): Effect.Effect<Listener<ListenAddress.ListenAddress>, ListenError, Scope.Scope> => {
  const options = { ipv6Only: isIpv6Only(address, all) }
  if (NetAddress.isInetAddress(address)) return transport.listen(address, accept, options)
  // It has written its header before the client began with TLS.
  const more = { ...options, ...isBalancer !== undefined && { clearFirst: isBalancer } }
  return transport.listenOn?.(address, accept, more) ?? Effect.fail(new ListenError({ address, code: "ENOTSUP" }))
}

/** One that is open. */
interface Open {
  readonly asked: ListenAddress.ListenAddress
  readonly listener: Listener<ListenAddress.ListenAddress>
  readonly scope: Scope.Closeable
}

/** Opens one of several, in a scope of its own. */
export type OpenOne = (
  address: ListenAddress.ListenAddress,
  all: Addresses
) => Effect.Effect<Listener<ListenAddress.ListenAddress>, ListenError, Scope.Scope>

/** Whether the operating system gives a place to one of them only. */
export const isSamePlace = (one: ListenAddress.ListenAddress, other: ListenAddress.ListenAddress): boolean => {
  const [a, b] = [ListenAddress.inetOf(one), ListenAddress.inetOf(other)]
  return a === undefined || b === undefined
    ? ListenAddress.format(one) === ListenAddress.format(other)
    : a.port === b.port && a.port !== 0
}

export class Listeners {
  private open: ReadonlyArray<Open> = []
  private readonly scope: Scope.Scope
  private readonly openOne: OpenOne

  /** All are closed with the scope. */
  constructor(scope: Scope.Scope, openOne: OpenOne) {
    this.scope = scope
    this.openOne = openOne
  }

  get all(): ReadonlyArray<Listener<ListenAddress.ListenAddress>> {
    return this.open.map(({ listener }) => listener)
  }

  /**
   * Listens on these, and on no others. Those that are open already stay so, with whoever waits to be accepted. When one
   * can't be had, all is as before.
   */
  replace(addresses: Addresses): Effect.Effect<void, ListenError> {
    return Effect.uninterruptible(Effect.gen({ self: this }, function*(this: Listeners) {
      const before = this.open.map(({ asked }) => asked)
      const kept = this.open.filter(({ asked }) => stays(asked, before, addresses))
      const gone = this.open.filter((one) => !kept.includes(one))
      const wanted = addresses.filter((address) => !kept.some(({ asked }) => Equal.equals(address, asked)))
      const inTheWay = gone.filter(({ asked }) => wanted.some((address) => isSamePlace(asked, address)))
      yield* close(inTheWay)
      const added: Array<Open> = []
      const addAll = Effect.forEach(
        wanted,
        (address) => Effect.map(this.begin(address, addresses), (one) => void added.push(one))
      )
      yield* Effect.tapError(addAll, () =>
        Effect.gen({ self: this }, function*(this: Listeners) {
          yield* close(added)
          // A moment ago they could be had; if not even that, the others at least are still there.
          const again = yield* Effect.forEach(inTheWay, ({ asked }) => Effect.option(this.begin(asked, before)))
          this.open = [...this.open.filter((one) => !inTheWay.includes(one)), ...Arr.getSomes(again)]
        }))
      const all = [...kept, ...added]
      this.open = addresses.flatMap((address) => all.filter(({ asked }) => Equal.equals(address, asked)))
      yield* close(gone)
    }))
  }

  /** No new clients; those in the queue of the operating system are lost. */
  get stop(): Effect.Effect<void> {
    return Effect.suspend(() => Effect.forEach(this.open, ({ listener }) => listener.stop, { discard: true }))
  }

  private begin(asked: ListenAddress.ListenAddress, all: Addresses): Effect.Effect<Open, ListenError> {
    return Effect.flatMap(Scope.fork(this.scope), (scope) =>
      this.openOne(asked, all).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void)),
        Effect.map((listener) => ({ asked, listener, scope }))
      ))
  }
}

const close = (these: ReadonlyArray<Open>): Effect.Effect<void> =>
  Effect.forEach(these, ({ scope }) => Scope.close(scope, Exit.void), { discard: true })
