/**
 * What is measured: the mechanisms of the article, and the proxies that people run.
 */
import * as ChildProcess from "node:child_process"
import * as Fs from "node:fs"
import * as Net from "node:net"
import * as Os from "node:os"
import * as Path from "node:path"
import * as Timers from "node:timers/promises"
import * as Children from "../Children.ts"
import * as Build from "./Build.ts"

export interface Contender {
  readonly name: string
  readonly group: "mechanism" | "proxy"
  /** A shell's command line that serves on a port of 127.0.0.1. */
  readonly command: (port: number) => string
  /** Whether it may use all cores; else it has one. */
  readonly wide: boolean
  /** Whether it is in the peer table. */
  readonly peer: boolean
  /** Whether it relays datagrams. */
  readonly udp: boolean
}

export interface Absent {
  readonly name: string
  readonly why: string
}

const quote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`

const onPath = (program: string): boolean =>
  [...(process.env.PATH ?? "").split(":"), "/usr/sbin", "/usr/local/sbin"].some((folder) =>
    Fs.existsSync(Path.join(folder, program))
  )

const dante = (folder: string) => (port: number): string => {
  const user = Os.userInfo().username
  const file = Path.join(folder, "danted.conf")
  Fs.writeFileSync(
    file,
    `logoutput: /dev/null
internal: 127.0.0.1 port = ${port}
external: 127.0.0.1
socksmethod: none
clientmethod: none
user.privileged: ${user}
user.unprivileged: ${user}
timeout.io: 0
client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }
socks pass { from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect udpassociate udpreply }
`
  )
  return `/usr/sbin/danted -f ${quote(file)} -p ${quote(Path.join(folder, "danted.pid"))}`
}

const threeProxy = (folder: string) => (port: number): string => {
  const file = Path.join(folder, "3proxy.cfg")
  Fs.writeFileSync(
    file,
    `maxconn 12000
timeouts 1 5 30 60 600 1800 15 60
auth none
socks -p${port} -i127.0.0.1
`
  )
  return `3proxy ${quote(file)}`
}

const hev = (program: string, folder: string) => (port: number): string => {
  const file = Path.join(folder, "hev.yml")
  Fs.writeFileSync(
    file,
    `main:
  workers: 1
  port: ${port}
  listen-address: '127.0.0.1'
misc:
  log-file: null
  log-level: error
  tcp-read-write-timeout: 600000
  limit-nofile: 20000
`
  )
  return `${quote(program)} ${quote(file)}`
}

export interface Places {
  /** Where the sources of the laboratory are: `bench/c10k`. */
  readonly sources: string
  /** Where they are compiled to: `bench/dist/c10k`. */
  readonly out: string
  /** The built `cli.js`. */
  readonly sluice: string
  /** For configurations; may be deleted afterwards. */
  readonly scratch: string
  readonly hev: string | undefined
}

/** Builds what can be built here and looks for the rest. */
export const find = (places: Places): { present: Array<Contender>; absent: Array<Absent> } => {
  const present = new Array<Contender>()
  const absent = new Array<Absent>()
  const node = quote(process.execPath)
  const add = (
    name: string,
    group: Contender["group"],
    missing: string | false,
    command: Contender["command"],
    extra: { wide?: boolean; peer?: boolean; udp?: boolean } = {}
  ): void => {
    if (missing === false) {
      present.push({ name, group, command, wide: false, peer: group === "proxy", udp: false, ...extra })
    } else absent.push({ name, why: missing })
  }
  const sluice = (workers: number) => (port: number): string =>
    `${node} ${quote(places.sluice)} serve --listen 127.0.0.1:${port}` + (workers > 1 ? ` --workers ${workers}` : "")
  const help = ChildProcess.spawnSync(process.execPath, [places.sluice, "serve", "--help"], { encoding: "utf8" }).stdout

  const relay = Build.hasGcc() ? Build.relay(places.sources, places.out) : undefined
  for (const name of Build.mechanisms) {
    const missing = relay === undefined
      ? "Debian's gcc and libc6-dev aren't installed"
      : relay.missing.get(name) ?? false
    add(name, "mechanism", missing, (port) => `${quote(relay?.path ?? "")} --mechanism ${name} --port ${port}`)
  }
  const go = Build.goroutines(places.sources, places.out)
  const noGo = go === undefined && "go isn't installed"
  add("goroutines", "mechanism", noGo, (port) => `${quote(go ?? "")} ${port}`, { peer: true })
  const baseline = quote(Path.join(places.out, "../baseline.js"))
  add("callbacks", "mechanism", false, (port) => `${node} ${baseline} ${port}`, { peer: true })

  add("sluice", "proxy", false, sluice(1), { udp: true })
  const noWorkers = !help.includes("--workers") && "this build has no --workers"
  add("sluice-2", "proxy", noWorkers, sluice(2), { wide: true, peer: false })
  const debian = (program: string, name = program) => !onPath(program) && `Debian's ${name} isn't installed`
  // One line of log for each connection, of which a service's owner keeps none.
  add("microsocks", "proxy", debian("microsocks"), (port) => `microsocks -i 127.0.0.1 -p ${port} >/dev/null 2>&1`)
  add("dante", "proxy", debian("danted", "dante-server"), dante(places.scratch), { udp: true })
  add("3proxy", "proxy", !onPath("3proxy") && "not on the PATH", threeProxy(places.scratch), {
    udp: true
  })
  const noHev = places.hev === undefined ? "no --hev PATH was given" : !Fs.existsSync(places.hev) && "not at that path"
  add("hev-socks5-server", "proxy", noHev, hev(places.hev ?? "", places.scratch), { udp: true })
  const npm = (file: string) => (port: number): string => `${node} ${quote(Path.join(places.out, "npm", file))} ${port}`
  add("@pondwader/socks5-server", "proxy", false, npm("pondwader.js"))
  add("simple-socks", "proxy", false, npm("simpleSocks.js"))
  return { present, absent }
}

/** A port of 127.0.0.1 that nobody listens on, for those that can't choose one themselves. */
const freePort = (): Promise<number> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer()
    server.once("error", reject)
    server.listen(0, "127.0.0.1", () => {
      const address = server.address()
      server.close(() => resolve(address !== null && typeof address === "object" ? address.port : 0))
    })
  })

const answers = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = Net.connect({ port, host: "127.0.0.1" })
    socket.once("error", () => resolve(false))
    socket.once("connect", () => {
      socket.destroy()
      resolve(true)
    })
  })

/**
 * Starts one and waits until it takes connections. `pin` is what {@link Children.pin} gave. Not all say that they
 * listen, so the shell says it for them, and then they are tried.
 */
export const start = async (contender: Contender, pin: string): Promise<Children.Proxy> => {
  const port = await freePort()
  const command = contender.command(port)
  const prefix = pin === "" ? "" : contender.wide ? `taskset -c 0-${Os.cpus().length - 1} ` : pin
  const line = `sh -c ${quote(`echo listening on socks5://127.0.0.1:${port}; exec ${command}`)}`
  const proxy = await Children.startProxy(prefix + line)
  for (let attempt = 0; attempt < 100; attempt++) {
    if (await answers(port)) return proxy
    await Timers.setTimeout(100)
  }
  await proxy.stop()
  throw new Error(`${contender.name} did not listen within 10 s`)
}
