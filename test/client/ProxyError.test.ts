import { assert, describe, it } from "@effect/vitest"
import * as ProxyError from "../../src/client/ProxyError.ts"

const proxy = "socks5h://a.test:1080"
const socks5 = (code: number) => new ProxyError.ReplyError({ proxy, protocol: "socks5", code })
const socks4 = (code: number) => new ProxyError.ReplyError({ proxy, protocol: "socks4", code })
const http = (status: number) => new ProxyError.StatusError({ proxy, status })

describe("a failure", () => {
  it.each<readonly [subject: ProxyError.Subject, errors: ReadonlyArray<ProxyError.ProxyError>]>([
    ["destination", [2, 3, 4, 5, 6].map(socks5)],
    ["destination", [403, 404, 502, 504].map(http)],
    ["request", [socks5(8), new ProxyError.Unsendable({ proxy, destination: "[::1]:80" })]],
    ["unknown", [...[1, 7, 9, 255].map(socks5), ...[91, 92, 93].map(socks4)]],
    ["unknown", [302, 400, 405, 429, 500, 501, 503].map(http)],
    ["unknown", [new ProxyError.AnswerTimedOut({ proxy })]],
    ["proxy", [
      http(407),
      new ProxyError.MethodRefused({ proxy, login: true }),
      new ProxyError.LoginRefused({ proxy }),
      new ProxyError.BadAnswer({ proxy, why: "test" }),
      new ProxyError.ProxyUnreachable({ proxy, code: "EEND" })
    ]]
  ])("is about the %s", (subject, errors) => {
    assert.deepStrictEqual(errors.map(ProxyError.subjectOf), errors.map(() => subject))
  })
})
