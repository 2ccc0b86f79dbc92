/** Values of which a JSON Schema can say something: what is taken, what is refused, and what both may be made of. */

const rule = (condition: string) => (value: string): string =>
  `rules: [{ ${condition.replace("*", value)}, action: deny }]`
const at = (text: string) => (value: string): string => text.replace("*", value)

const hash = "$argon2id$v=19$m=19456,t=2,p=1$c2x1aWNlLWV4YW1wbGU$F8zPvMBb4DsxAFaD1j4M2SbvdQF4WbsLNfSJtbIR7lk"

export interface Field {
  readonly name: string
  readonly within: (value: string) => string
  /** In YAML. */
  readonly takes: ReadonlyArray<string>
  readonly refuses: ReadonlyArray<string>
  /** What random texts are made of. */
  readonly parts: ReadonlyArray<string>
}

const digits = ["0", "1", "8", "30", "99999"]

const durations = {
  takes: ["10s", "1h30m", "1h 30m", "0.5s", "5", "1.5", "\"7\"", "500ms", "8760h"],
  parts: [...digits, ".", " ", "ms", "s", "m", "h", "d", "-"]
}
const notDurations = ["10x", "-1s", "1h30", "\"\"", "true", "-5", "31536001", "1s 2", "[1s, 2s]"]

const counts = {
  takes: ["1", "\"12\"", "999999999"],
  refuses: ["0", "-1", "1.5", "1000000000", "many", "true"],
  parts: [...digits, ".", "-", " "]
}

const ranges = {
  takes: ["40000-40999", "7", "65535", "\"80\""],
  refuses: ["0", "65536", "80 - 90x", "a", "1.5", "true"],
  parts: [...digits, "-", " ", "65535"]
}

const switches = {
  takes: ["true", "false", "TRUE", "yes", "No", "on", "OFF", "y", "N", "1", "0", "\"1\"", "\"true\"", "\"tRuE\""],
  refuses: ["maybe", "2", "\"\"", "[true]", "yess"],
  parts: ["true", "FALSE", "yes", "No", "on", "off", "y", "n", "1", "0", " "]
}

const sizes = {
  takes: ["10GB", "5 GB", "1KB", "1kB", "10GiB", "1.5MB", "3 megabytes", "\" 1 B \"", "1TiB"],
  refuses: ["500", "lots", "10Gb", "0", "10 XB", "true"],
  parts: [...digits, ".", " ", "B", "K", "k", "M", "i", "bytes", "mega", "/s"]
}

const addresses = ["1", "true", "lan"]

export const fields: ReadonlyArray<Field> = [
  { name: "bindTimeout", within: at("bindTimeout: *"), ...durations, refuses: [...notDurations, "0"] },
  {
    name: "idleTimeout",
    within: at("idleTimeout: *"),
    ...durations,
    takes: [...durations.takes, "0"],
    refuses: notDurations
  },
  { name: "bans.for", within: at("bans: { for: * }"), ...durations, refuses: notDurations },
  { name: "maxConnections", within: at("maxConnections: *"), ...counts },
  { name: "bans.after", within: at("bans: { after: * }"), ...counts },
  { name: "limits.user.connections", within: at("limits: { user: { connections: * } }"), ...counts },
  {
    name: "workers",
    within: at("workers: *"),
    takes: ["auto", "1", "1024", "\"2\""],
    refuses: ["0", "1025", "many", "1.5", "true"],
    parts: [...digits, "auto"]
  },
  { name: "udpPorts", within: at("udpPorts: *"), ...ranges },
  {
    name: "rules.ports",
    within: rule("ports: *"),
    ...ranges,
    takes: [...ranges.takes, "80 - 443", "[1, 2-3]", "0080"]
  },
  { name: "rules.not.ports", within: rule("not: { ports: * }"), ...ranges },
  {
    name: "rules.reply",
    within: rule("reply: *"),
    takes: ["1", "8", "\"2\""],
    refuses: ["0", "9", "two", "1.5", "true"],
    parts: [...digits, "2"]
  },
  {
    name: "rules.when.days",
    within: rule("when: { days: * }"),
    takes: ["mon", "[mon-fri, SUN]", "\" Fri - mon \""],
    refuses: ["funday", "1", "mon-fri-sat", "mon,tue", "true"],
    parts: ["mon", "Tue", "SUN", "-", " ", "x"]
  },
  {
    name: "rules.when.hours",
    within: rule("when: { hours: * }"),
    takes: ["08:00-18:00", "22:00-6:00", "\"8:00 - 24:00\""],
    refuses: ["8-18", "8", "noon", "8:0-9:0"],
    parts: ["08:00", "8:5", "24:00", "-", " "]
  },
  { name: "openProxy", within: at("openProxy: *"), ...switches },
  { name: "rules.shadow", within: rule("shadow: *"), ...switches },
  {
    name: "protocols",
    within: at("protocols: *"),
    takes: ["http", "[socks5, http]", "\"socks5,http\"", "\" socks4 , http \"", "[\"socks5,socks4\", http]"],
    refuses: ["ftp", "[socks5, ftp]", "SOCKS5", "1", "\"socks5,\"", "true"],
    parts: ["socks5", "socks4", "http", ",", " "]
  },
  {
    name: "tests.expect",
    within: at("tests: [{ connect: \"a.test:1\", expect: * }]"),
    takes: ["allow", "deny", "deny rule x", "\" allow  default\""],
    refuses: ["denied", "Allow", "1", "true"],
    parts: ["allow", "deny", " ", "rule", "x"]
  },
  {
    name: "tests.connect",
    within: at("tests: [{ connect: *, expect: deny }]"),
    takes: ["\"a.test:443\"", "192.0.2.1:1", "\"[2001:db8::1]:65535\""],
    refuses: ["a.test", "\"a.test:0\"", "443", "\":1\""],
    parts: ["a.test", ":", "192.0.2.1", "[::1]", ...digits]
  },
  {
    name: "tests.at",
    within: at("tests: [{ connect: \"a.test:1\", expect: deny, at: * }]"),
    takes: ["2027-01-04T10:30:00Z", "2027-01-04T10:30+02:00"],
    refuses: ["noon", "2027", "2027-01-04"],
    parts: ["2027-01-04", "T", "10:30", ":00", "Z"]
  },
  {
    name: "users.expires",
    within: at(`users: [{ name: ann, password: "${hash}", expires: * }]`),
    takes: ["2027-06-30", "2027-06-30T12:00:00Z"],
    refuses: ["tomorrow", "2027", "30.6.2027"],
    parts: ["2027-06-30", "T", "12:00", ":00", "Z", "+02:00"]
  },
  {
    name: "users.password",
    within: at("users: [{ name: ann, password: * }]"),
    takes: [`"${hash}"`],
    refuses: ["sesame", "12345"],
    parts: [hash, "x"]
  },
  { name: "limits.user.bytesPerDay", within: at("limits: { user: { bytesPerDay: * } }"), ...sizes },
  {
    name: "limits.user.up",
    within: at("limits: { user: { up: * } }"),
    takes: ["10MB/s", "1 GiB/s", "\"1 kilobyte /s\""],
    refuses: ["10MB", "10", "10MB/m", "fast", "true"],
    parts: sizes.parts
  },
  {
    name: "limits.user.newConnections",
    within: at("limits: { user: { newConnections: * } }"),
    takes: ["20/s", "600/m", "1/h", "1/d"],
    refuses: ["20", "0/s", "20/x", "20 /s", "1.5/s", "true"],
    parts: [...digits, "/", "s", "m", " "]
  },
  {
    name: "listen",
    within: at("listen: *"),
    takes: ["127.0.0.1:1080", "\"[::1]:0\"", "Localhost:1", "unix:/run/s.sock", "[tls://0.0.0.0:1?cert=a&key=b]"],
    refuses: ["1080", "localhost", "true"],
    parts: ["127.0.0.1", "localhost", ":", "1080", "unix:", "tls://", "?cert=a&key=b", "/"]
  },
  {
    name: "dns",
    within: at("dns: *"),
    takes: ["9.9.9.9", "\"::1\"", "[9.9.9.9:53]"],
    refuses: addresses,
    parts: ["9.9.9.9", ":", "53", "::1", "[", "]"]
  },
  {
    name: "allow",
    within: at("allow: *"),
    takes: ["10.0.0.0/8", "\"fd00::/8\"", "[192.0.2.1]"],
    refuses: addresses,
    parts: ["10.0.0.0", "/", "8", "fd00::", "1"]
  },
  {
    name: "proxyProtocol",
    within: at("proxyProtocol: *"),
    takes: ["unix", "[10.0.0.0/8, unix]"],
    refuses: addresses,
    parts: ["10.0.0.0", "/", "8", "unix"]
  },
  {
    name: "udpAdvertise",
    within: at("udpAdvertise: *"),
    takes: ["192.0.2.1", "\"2001:db8::1\""],
    refuses: addresses,
    parts: ["192.0.2.1", "::", "1"]
  },
  {
    name: "upstream",
    within: at("upstream: *"),
    takes: ["socks5://a.test", "[SOCKS5H://a.test:1, { url: \"http://b.test\" }]"],
    refuses: ["a.test:1080", "ftp://a.test", "1080", "{ url: a.test }"],
    parts: ["socks5", "HTTP", ":", "//", "a.test", ":1", "ann@"]
  },
  // Any text will do, and so will what YAML has as something else.
  {
    name: "rules.name",
    within: rule("name: *"),
    takes: ["a", "true", "1.5", "1e3"],
    refuses: ["[a]", "{}", "", "\"\""],
    parts: ["a", "1"]
  },
  {
    name: "rules.users",
    within: rule("users: *"),
    takes: ["ann", "[1, true, 0x1]"],
    refuses: ["{}", "[[a]]", "", "[\"\"]"],
    parts: ["a", "1"]
  }
]
