/** A configuration file with every option, commented out: `sluice config example`. */
import * as Config from "./Config.ts"
import type * as Settings from "./Settings.ts"

/** How settings without a default look. */
const examples: Partial<Record<keyof Settings.Settings, string>> = {
  proxyProtocol: "[10.0.0.0/24]",
  user: "[\"carol:secret\"]",
  allow: "[10.20.0.0/16]",
  dns: "[9.9.9.9, 149.112.112.112]",
  udpAdvertise: "198.51.100.7",
  udpPorts: "40000-40999",
  bindPorts: "41000-41999",
  upstream: `
  - socks5h://proxy.example:1080
## or with the password elsewhere
#   - { url: socks5h://proxy.example:1080, user: ann, passwordFile: proxy.password }
#   - { url: socks5h://proxy.example:1080, user: ann, passwordEnv: PROXY_PASSWORD }`,
  egress: "[192.0.2.1, \"2001:db8::/64\"]",
  maxConnections: "10000",
  logFormat: "logfmt"
}

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLWV4YW1wbGU$F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk"

/**
 * What a short text can't say: one of each section. Lines with ## explain. Lines with one # need a file or a variable that
 * isn't there yet: they stay commented.
 */
const sections: Readonly<Record<Config.Section, readonly [explanation: string, yaml: string]>> = {
  users: [
    "Who may log in: a list, or the path of a users file. `sluice hash` prints the hashes; in braces they need quotes.",
    `users:
  - name: ann
    password: ${hash}
    groups: [staff]
    expires: 2037-06-30
    from: [192.0.2.0/24]
    egress: [192.0.2.7]
    limits: heavy
## or several passwords, and by: rotate (the default), user or session, as egressBy has it
  - name: bob
    passwords:
      - { hash: "${hash}", label: laptop, expires: 2037-01-01T12:00:00Z }
      - { hash: "${hash}", label: phone }
#       - { passwordFile: desk.hash, label: desk }
#       - { passwordEnv: TABLET_HASH, label: tablet }
    egress: { from: [192.0.2.8, 192.0.2.9], by: rotate }
## or with the hash in a file, or in an environment variable
#   - { name: cleo, passwordFile: cleo.hash }
#   - { name: dora, passwordEnv: DORA_HASH }`
  ],
  auth: [
    "A service that decides logins: POST of {user, password, client} as JSON, answered with 200 or 401.",
    `auth:
  http: https://auth.example/login
  timeout: 2s
## 0 asks it each time
  cacheFor: 1m
## The one line of this file is sent as Authorization: Bearer
#   tokenFile: auth.token`
  ],
  userOptions: [
    "Options in user names, such as NAME+session-7f3+country-de. Others are refused.",
    `userOptions:
## Any word; the same one is given the same address and upstream, until 10m after its last login (default: for ever)
  session: { kind: session, stickFor: 10m }
## A word that picks upstreams
  country: { kind: pool, values: { de: pool-de, us: pool-us } }`
  ],
  lists: [
    "Lists of networks and domains that rules can name.",
    `lists:
  office: [10.0.0.0/8, 192.0.2.7]
  social: [.example.com, "*.tracker.test", exact.test]
## or from a file, with one on each line, or as hosts files have them
#   ads: { file: ads.txt }`
  ],
  upstreams: [
    "Pools of other proxies, which rules (via) and user options pick. A list in the list is a chain.",
    `upstreams:
  pool-de:
    proxies: ["socks5h://a.example:1080", ["http://b.example:8080", "socks5h://c.example:1080"]]
## Which of several: each in turn (round-robin), least-connections, or the same for a user (user)
    choose: round-robin
## After so many failures in a row, one is left out for so long
    maxFailures: 3
    ejectFor: 30s
## How often each is tried, where there are several; 0 = never
    checkEvery: 10s
## or with the password elsewhere
  pool-us:
    proxies:
      - url: socks5h://d.example:1080
        user: ann
#         passwordFile: d.password
      - url: http://e.example:8080
        user: bob
#         passwordEnv: E_PASSWORD`
  ],
  limits: [
    "How much may be used; what is left out is not limited. All of these hold beside each other.\n" +
    "Sizes: 10MB is 10,000,000 bytes, 10MiB is 10,485,760.",
    `limits:
## All clients together
  global:
    connections: 9000 # at once
    devices: 3000 # different client addresses at once; an IPv6 network of 64 bits is one
    newConnections: 500/s # or /m, /h, /d
    udpPackets: 50000/s # in both directions
    up: 100MB/s # to targets
    down: 1GB/s # to clients
    bytesPerDay: 10TB # in both directions, by UTC
    bytesPerMonth: 100TB
## Each user
  user: { connections: 100, devices: 3, newConnections: 20/s, udpPackets: 1000/s,
    up: 10MB/s, down: 10MB/s, bytesPerDay: 50GB, bytesPerMonth: 500GB }
## Each client address; an IPv6 network of 64 bits is one
  client: { connections: 200, devices: 1, newConnections: 600/m, udpPackets: 2000/s,
    up: 20MB/s, down: 20MB/s, bytesPerDay: 100GB, bytesPerMonth: 1TB }
## All users of a group together, by its name
  groups:
    staff: { connections: 2000, devices: 500, newConnections: 100/s, udpPackets: 10000/s,
      up: 50MB/s, down: 200MB/s, bytesPerDay: 1TB, bytesPerMonth: 10TB }
## In the place of user, for whom a user or a rule has the name: limits: heavy
  classes:
    heavy: { connections: 500, devices: 10, newConnections: 50/s, udpPackets: 5000/s,
      up: 50MB/s, down: 50MB/s, bytesPerDay: 100GB, bytesPerMonth: 1TB }
## Keeps the counters of days and months over a restart
  stateFile: usage.json`
  ],
  bans: [
    "What follows failed logins: a delay that doubles with each, then a ban of the client's address; bans: off is nothing.",
    `bans:
  after: 5
  within: 10m
  for: 1h
  delay: 1s
  maxDelay: 16s
## Networks that are never banned, nor kept waiting
  allow: [127.0.0.0/8, "::1"]
## Clients at most
  remember: 65536`
  ],
  default: ["What becomes of requests that no rule matches: allow or deny (default: allow).", "default: allow"],
  rules: [
    "The first rule that matches decides. All conditions of a rule must hold; within a list any of them.\n" +
    "Domains are compared with the name as it was sent, networks with each address that would be dialled.",
    `rules:
  - name: no-databases
    users: [ann]
    groups: [staff]
    clients: [192.0.2.0/24, office]
    listeners: ["127.0.0.1:1080"]
    protocols: [socks5]
    commands: [connect, associate]
    to: [10.0.0.0/8, db.corp, .corp, "*.db.*"]
    ports: [80-443, 5432]
## Every day, all day, by this machine's clock where nothing is said of them; 22:00-06:00 goes on into the next day
    when: { days: [mon-fri], hours: 08:00-18:00, zone: Europe/Berlin }
## The same conditions, none of which may hold
    not:
      users: [bob]
      groups: [dba]
      clients: [192.0.2.99]
      listeners: ["unix:/run/sluice.sock"]
      protocols: [http]
      commands: [bind]
      to: [ok.corp]
      ports: [8000-8999]
      when: { days: [sat, sun], hours: 00:00-24:00, zone: Europe/Berlin }
    action: deny
## The code of RFC 1928, section 6
    reply: 2
  - name: social-by-germany
    to: [social]
    action: allow
## A pool of upstreams, or direct for none (default: as upstream says)
    via: pool-de
    limits: heavy
## The level of the connection's line in the log, none = no line (default: info)
    log: debug
  - name: intranet
    clients: [office]
    to: [10.0.0.0/8]
    action: allow
    egress: { from: [192.0.2.9], by: rotate }
## Tell the target by a PROXY header (version 2) who the client is (default: false)
    proxyHeader: true
## Opens internal networks too; those that to names it opens anyway (default: false)
    internal: true
  - name: watched
    ports: [25]
    action: deny
## Decides nothing: what it would have done is counted and logged (default: false)
    shadow: true`
  ],
  tests: [
    "Requests, and what must become of them: `sluice check` and every reload try them first.",
    `tests:
  - { connect: "www.example.com:443", expect: allow rule social-by-germany }
  - { connect: "example.org:443", resolvesTo: [198.51.100.80], expect: allow default }
## Defaults: nobody, the groups in users, an unknown client, the first of listen, socks5, connect, now
  - user: ann
    groups: [staff]
    client: 192.0.2.5
    listener: 127.0.0.1:1080
    protocol: socks5
    command: connect
    connect: db.corp:5432
    at: 2027-01-04T10:00:00Z
    expect: deny rule no-databases`
  ]
}

/** Lines that explain are comments already. */
const prefixed = (prefix: string, text: string): string =>
  text.split("\n").map((line) => line.startsWith("##") ? line : `${prefix} ${line}`).join("\n")

const explanationOf = ({ choices, description, otherwise, repeatable }: Settings.Setting): string =>
  description +
  (choices === undefined ? "" : `: ${choices.join(", ")}`) +
  (repeatable === true ? "; one or a list" : "") +
  (otherwise === undefined ? "" : ` (default: ${otherwise})`)

/** Plain where YAML takes it for a text. */
const scalar = (text: string): string => /^[\w.,-]+$/.test(text) ? text : JSON.stringify(text)

const option = (setting: Settings.Setting): string => {
  const { default: value, key } = setting
  const written = examples[key] ?? scalar(value ?? "")
  const text = `${key}:${written.startsWith("\n") ? "" : " "}${written}`
  return `${prefixed("##", explanationOf(setting))}\n${prefixed("#", text)}`
}

const head = `## A configuration of Sluice: sluice serve --config FILE, sluice check FILE
##
## Lines with one # are options, with their defaults where they have one: take the "# " away. Lines with ## explain.
## Lines with # # are options too, once there is the file or the variable that they name: take both away.
## Flags and SLUICE_* variables win over what stands here. Relative paths start from this file's folder.`

/** The text, whose options are all valid once their "# " is taken away; "# # " too, where what they name is there. */
export const example = (): string =>
  [
    head,
    ...Config.settings.map(option),
    ...Object.values(sections).map(([explanation, yaml]) => `${prefixed("##", explanation)}\n${prefixed("#", yaml)}`)
  ].join("\n\n")
