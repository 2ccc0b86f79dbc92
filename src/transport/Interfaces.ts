/** This machine's addresses, as its interfaces have them. */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { networkInterfaces } from "node:os"

/** The names of those that have an address. */
export const names = (): ReadonlyArray<string> => Object.keys(networkInterfaces())

/** Those of one interface, or of all. Throws where they can't be read, as without a free descriptor. */
export const addresses = (name?: string): ReadonlyArray<NetAddress.IpAddress> =>
  Object.entries(networkInterfaces()).flatMap(([interfaceName, entries = []]) =>
    name !== undefined && name !== interfaceName
      ? []
      : entries.flatMap(({ address }) => {
        const parsed = NetAddress.ipFromString(address)
        return Result.isSuccess(parsed) ? [parsed.success] : []
      })
  )
