/** What somebody seems to speak who speaks none of the protocols that are served. */
import * as Socks4Request from "../protocol/Socks4Request.ts"
import { version } from "../protocol/Version.ts"

/** A record of TLS that begins a handshake (RFC 8446 §5.1). */
const tlsHandshake = 0x16

/** Version 1 is text. */
const proxyHeader = "a PROXY header, from where --proxy-protocol names nobody"

/** Other protocols whose clients begin with a word. */
const texts: ReadonlyArray<readonly [start: RegExp, name: string]> = [
  [/^SSH-/, "SSH"],
  [/^PROXY /, proxyHeader],
  [/^(?:EHLO|HELO|LHLO|STARTTLS)\b/, "SMTP"],
  [/^[A-Z]+ (?:sips?|rtsp):/, "SIP or RTSP"],
  [/^(?:USER|QUIT|NICK|CAPA)\b/, "FTP, POP3 or IRC"]
]

/** Whether the first byte may be that of an HTTP request's method. */
export const isCapital = (first: number): boolean => first >= 0x41 && first <= 0x5a

/** What begins like text and is known not to be HTTP; `undefined` when it may be. */
export const knownText = (bytes: Uint8Array): string | undefined => {
  const start = Buffer.from(bytes.buffer, bytes.byteOffset, Math.min(64, bytes.length)).toString("latin1")
  return texts.find(([pattern]) => pattern.test(start))?.[1]
}

/** What a connection that is not for us begins with, of which at least a byte is there. */
export const looksLike = (bytes: Uint8Array): string => {
  const [first = 0] = bytes
  if (first === version) return "SOCKS5"
  if (first === Socks4Request.version) return "SOCKS4"
  if (first === tlsHandshake) return "TLS"
  if (first === 0x0d) return proxyHeader
  if (isCapital(first)) return knownText(bytes) ?? "HTTP, or other text"
  return `nothing known (first byte 0x${first.toString(16).padStart(2, "0")})`
}
