/** What went wrong between us and the proxy, in the words of the table. */
import { type ProxyError, ReplyError } from "../client/ProxyError.ts"

/** How a proxy broke off, or did not come to answer. */
const words: Readonly<Record<string, string>> = {
  EEND: "the proxy closed the connection",
  ECONNRESET: "the proxy reset the connection",
  EPIPE: "the proxy closed the connection",
  ECLOSED: "the proxy closed the connection",
  ECONNREFUSED: "connection refused",
  ETIMEDOUT: "no answer in time",
  ENOTFOUND: "the name does not exist"
}

/** Without the proxy's name: that is the table's title. */
export const describe = (error: ProxyError): string => {
  switch (error._tag) {
    case "ProxyUnreachable":
      return words[error.code] ?? error.code
    case "AnswerTimedOut":
      return "no answer in time"
    default:
      return error.message.slice(error.proxy.length + 2)
  }
}

/** A reply code, as errors show it: in hex with SOCKS5, in decimal with SOCKS4, as their specifications do. */
export const reply = (code: number, protocol: ReplyError["protocol"] = "socks5"): string =>
  describe(new ReplyError({ proxy: "", protocol, code }))

/** Whether the proxy understood what it was asked, and judged: it speaks the protocol. */
export const isAnswer = ({ _tag }: ProxyError): boolean =>
  _tag === "ReplyError" || _tag === "StatusError" || _tag === "LoginRefused" || _tag === "MethodRefused"
