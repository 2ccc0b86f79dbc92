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
  upstream: "[\"socks5h://proxy.example:1080\"]",
  egress: "[192.0.2.1, \"2001:db8::/64\"]",
  maxConnections: "10000",
  logFormat: "logfmt"
}

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLWV4YW1wbGU$F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk"

/** What a short text can't say: one of each section. */
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
  - name: bob
    passwords:
      - { hash: "${hash}", label: laptop, expires: 2037-01-01 }`
  ],
  auth: [
    "A service that decides logins: POST of {user, password, client} as JSON, answered with 200 or 401.\n" +
    "tokenFile: PATH sends the file's line as Authorization: Bearer.",
    `auth:
  http: https://auth.example/login
  timeout: 2s
  cacheFor: 1m`
  ],
  userOptions: [
    "Options in user names, such as NAME+session-7f3+country-de. Others are refused.",
    `userOptions:
  session: { kind: session, stickFor: 10m }
  country: { kind: pool, values: { de: pool-de } }`
  ],
  lists: [
    "Lists of networks and domains that rules can name. { file: PATH } reads one, a hosts file too.",
    `lists:
  office: [10.0.0.0/8, 192.0.2.7]
  social: [.example.com, "*.tracker.test", exact.test]`
  ],
  upstreams: [
    "Pools of other proxies, which rules (via) and user options pick. A list in the list is a chain.\n" +
    "A password can stand elsewhere: { url: socks5h://a.example, user: ann, passwordFile: PATH } or passwordEnv: NAME.",
    `upstreams:
  pool-de:
    proxies: ["socks5h://a.example:1080", ["http://b.example:8080", "socks5h://c.example:1080"]]
    choose: round-robin
    maxFailures: 3
    ejectFor: 30s
    checkEvery: 10s`
  ],
  limits: [
    "How much may be used. All of these hold beside each other; a class takes the place of `user` for those who have it.\n" +
    "Sizes: 10MB is 10,000,000 bytes, 10MiB is 10,485,760.",
    `limits:
  global: { connections: 9000, newConnections: 500/s, up: 100MB/s, down: 1GB/s }
  user: { connections: 100, devices: 3, newConnections: 20/s, udpPackets: 1000/s, up: 10MB/s, down: 10MB/s }
  client: { connections: 200, newConnections: 600/m }
  groups:
    staff: { bytesPerMonth: 1TB }
  classes:
    heavy: { down: 50MB/s, bytesPerDay: 10GB, bytesPerMonth: 100GB }
  stateFile: usage.json`
  ],
  bans: [
    "What follows failed logins: a delay that doubles with each, then a ban of the client's address; bans: off is nothing.",
    `bans: { after: 5, within: 10m, for: 1h, delay: 1s, maxDelay: 16s, allow: [127.0.0.0/8, "::1"], remember: 65536 }`
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
    commands: [connect]
    to: [10.0.0.0/8, db.corp, .corp, "*.db.*"]
    ports: [80-443, 5432]
    when: { days: [mon-fri], hours: 08:00-18:00, zone: Europe/Berlin }
    not: { to: [ok.corp] }
    action: deny
    reply: 2
  - name: social-by-germany
    to: [social]
    action: allow
    via: pool-de
    limits: heavy
    log: debug
  - name: intranet
    clients: [office]
    to: [10.0.0.0/8]
    action: allow
    egress: { from: [192.0.2.9], by: user }
    proxyHeader: true
    internal: true
  - name: watched
    ports: [25]
    action: deny
    shadow: true`
  ],
  tests: [
    "Requests, and what must become of them: `sluice check` and every reload try them first.",
    `tests:
  - { connect: "www.example.com:443", expect: allow rule social-by-germany }
  - { connect: "example.org:443", resolvesTo: [198.51.100.80], expect: allow default }
  - user: ann
    client: 192.0.2.5
    connect: db.corp:5432
    at: 2027-01-04T10:00:00Z
    expect: deny rule no-databases`
  ]
}

const prefixed = (prefix: string, text: string): string =>
  text.split("\n").map((line) => `${prefix} ${line}`).join("\n")

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
  return `${prefixed("##", explanationOf(setting))}\n# ${key}: ${written}`
}

const head = `## A configuration of Sluice: sluice serve --config FILE, sluice check FILE
##
## Lines with one # are options, with their defaults where they have one: take the "# " away. Lines with two explain.
## Flags and SLUICE_* variables win over what stands here. Relative paths start from this file's folder.`

/** The text, whose options are all valid once their "# " is taken away. */
export const example = (): string =>
  [
    head,
    ...Config.settings.map(option),
    ...Object.values(sections).map(([explanation, yaml]) => `${prefixed("##", explanation)}\n${prefixed("#", yaml)}`)
  ].join("\n\n")
