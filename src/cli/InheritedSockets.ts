/** Sockets that systemd has opened for us, and on which clients may wait already (sd_listen_fds(3)). */
import * as NetAddress from "effect/net/NetAddress"
import * as Result from "effect/Result"
import { readFileSync, readlinkSync } from "node:fs"
import { endianness } from "node:os"
import * as ListenAddress from "../transport/ListenAddress.ts"
import { type CommandError, failed } from "./CommandError.ts"

/** The first one; those below are the process's own. */
const first = 3

const linesOf = (path: string): ReadonlyArray<string> => {
  try {
    return readFileSync(path, "utf8").split("\n").slice(1)
  } catch {
    return []
  }
}

/** The kernel prints each word of an address in the order of its memory (proc_net_tcp). */
const bytesOf = (words: string): Uint8Array => {
  const bytes = Buffer.from(words, "hex")
  return endianness() === "LE" ? bytes.swap32() : bytes
}

const tcpListen = "0A"

/** The addresses on which this machine listens, by the socket's number. */
const tcpSockets = (path: string): ReadonlyMap<string, NetAddress.InetAddress> => {
  const found = new Map<string, NetAddress.InetAddress>()
  for (const line of linesOf(path)) {
    const [, local = "", , state, , , , , , inode] = line.trim().split(/\s+/)
    const [words = "", port = ""] = local.split(":")
    if (state !== tcpListen || inode === undefined) continue
    const bytes = bytesOf(words)
    const address = bytes.length === 4 ? NetAddress.ipv4FromBytesUnsafe(bytes) : NetAddress.ipv6FromBytesUnsafe(bytes)
    found.set(inode, NetAddress.inetAddressUnsafe(address, Number.parseInt(port, 16)))
  }
  return found
}

/** The flag of a socket that listens: `__SO_ACCEPTCON`. */
const accepts = 0x10000
const streamType = "0001"

/** The same for Unix sockets. One without a path has none that a client could name. */
const unixSockets = (): ReadonlyMap<string, ListenAddress.Unix> => {
  const found = new Map<string, ListenAddress.Unix>()
  for (const line of linesOf("/proc/self/net/unix")) {
    // Address, references, protocol, flags, type, state, inode, path.
    const [, flags = "", type, inode, path] = /^\S+ \S+ \S+ (\S+) (\S+) \S+ +(\d+) (.+)$/.exec(line) ?? []
    if (type !== streamType || inode === undefined || path === undefined) continue
    if ((Number.parseInt(flags, 16) & accepts) !== 0) found.set(inode, ListenAddress.unix(path))
  }
  return found
}

const inodeOf = (fd: number): string | undefined => {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1]
  } catch {
    return undefined
  }
}

/**
 * Those that were passed to this process, and where they listen; `undefined` when none were. The variables that tell of
 * them are taken out of `environment`: they are not meant for our children.
 */
export const take = (
  environment: NodeJS.ProcessEnv = process.env
): Result.Result<ReadonlyArray<ListenAddress.Descriptor> | undefined, CommandError> => {
  const { LISTEN_FDNAMES: names, LISTEN_FDS: count, LISTEN_PID: pid } = environment
  delete environment.LISTEN_FDNAMES
  delete environment.LISTEN_FDS
  delete environment.LISTEN_PID
  // They may be somebody else's, whose child we are.
  if (count === undefined || pid !== String(process.pid) || !/^[1-9]\d{0,3}$/.test(count)) {
    return Result.succeed(undefined)
  }

  const tcp = [tcpSockets("/proc/self/net/tcp"), tcpSockets("/proc/self/net/tcp6")]
  const unix = unixSockets()
  const named = names?.split(":") ?? []
  const found: Array<ListenAddress.Descriptor> = []
  for (let index = 0; index < Number(count); index++) {
    const fd = first + index
    const inode = inodeOf(fd) ?? ""
    const address = tcp[0]?.get(inode) ?? tcp[1]?.get(inode) ?? unix.get(inode)
    if (address === undefined) {
      const name = named[index] === undefined || named[index] === "" ? "" : ` (${named[index]})`
      return Result.fail(
        failed(`LISTEN_FDS: descriptor ${fd}${name} is no listening TCP or Unix socket; see ListenStream=`)
      )
    }
    found.push(ListenAddress.descriptor(fd, address))
  }
  return Result.succeed(found)
}
