/** An HTTP proxy on loopback that knows CONNECT, and tells the truth or not. */
import * as Net from "node:net"
import { target } from "./Targets.ts"

export interface HttpProxyOptions {
  /** What it does to its n-th connection, from 0 on; default: relay. */
  readonly behave?: (number: number) => "relay" | "flip" | "cut" | "refuse" | "stall"
  /** What `Proxy-Authorization` has to be. */
  readonly authorization?: string
}

const head = (socket: Net.Socket): Promise<string> =>
  new Promise((resolve) => {
    let text = ""
    const read = (chunk: Buffer): void => {
      text += chunk.toString("latin1")
      if (!text.endsWith("\r\n\r\n")) return
      socket.off("data", read)
      socket.pause()
      resolve(text)
    }
    socket.on("data", read)
  })

/** Starts one for the scope. */
export const httpProxy = ({ authorization, behave = () => "relay" }: HttpProxyOptions = {}) => {
  let connections = 0
  return target((client) => {
    const behaviour = behave(connections++)
    void head(client).then((text) => {
      if (authorization !== undefined && !text.includes(`\r\nProxy-Authorization: ${authorization}\r\n`)) {
        return void client.end("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
      }
      if (behaviour === "refuse") {
        return void client.end("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
      }
      const [, host = "", port = ""] = /^CONNECT ([\d.]+):(\d+) HTTP\/1\.1\r\n/.exec(text) ?? []
      const upstream = Net.connect({ host, port: Number(port), noDelay: true }, () => {
        client.write("HTTP/1.1 200 Connection established\r\nVia: 1.1 test\r\n\r\n")
        if (behaviour === "cut") return void client.end()
        upstream.on("data", (chunk) => {
          if (behaviour === "flip") chunk[0] = (chunk[0] ?? 0) ^ 1
          if (behaviour !== "stall") client.write(chunk)
        })
        client.pipe(upstream)
      })
      upstream.on("error", () => client.destroy())
      client.on("close", () => upstream.destroy())
    })
  })
}
