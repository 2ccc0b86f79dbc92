/**
 * The client's side of one connection through a proxy: light enough that the load doesn't cost more than what it loads.
 */
import * as Net from "node:net"

export interface Address {
  readonly host: string
  readonly port: number
  /** Whom to log in as, where the proxy asks for it. */
  readonly login?: { readonly name: string; readonly password: string }
}

type Login = NonNullable<Address["login"]>

const messages = new WeakMap<Login, Buffer>()

/** The message of RFC 1929 §2, made once for each login. */
const loginMessage = (login: Login): Buffer => {
  const known = messages.get(login)
  if (known !== undefined) return known
  const [name, password] = [Buffer.from(login.name), Buffer.from(login.password)]
  const message = Buffer.concat([Buffer.from([1, name.length]), name, Buffer.from([password.length]), password])
  messages.set(login, message)
  return message
}

/** Milliseconds after which a connection that waits for the proxy counts as failed. */
const patience = 10_000
const sources = 200

// All sockets read into one buffer: what is in it is consumed before the callback returns, and never written from.
const scratch = Buffer.alloc(256 * 1024)

let dialled = process.pid

/** A connection whose handshake is done. */
export class Client {
  readonly socket: Net.Socket
  /** Takes what was read; the view is good until it returns. */
  onData: (chunk: Buffer) => void
  /** Called once, with the reason when it isn't an orderly end. */
  onClose: (reason: string | undefined) => void

  constructor(socket: Net.Socket) {
    this.socket = socket
    this.onData = () => {}
    this.onClose = () => {}
  }

  /** Whether to fail after {@link patience} without traffic. */
  hurry(on: boolean): void {
    this.socket.setTimeout(on ? patience : 0)
  }

  /** Resolves with the next chunk's first byte. */
  byte(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.onData = (chunk) => {
        if (chunk.length === 1) resolve(chunk.readUInt8(0))
        else reject(new Error("data: more than was asked for"))
      }
      this.onClose = (reason) => reject(new Error(`data: ${reason ?? "closed by the proxy"}`))
    })
  }

  close(): Promise<void> {
    return new Promise((resolve) => {
      this.onClose = () => resolve()
      if (this.socket.closed) resolve()
      else this.socket.destroy()
    })
  }
}

/**
 * Connects to `port` on 127.0.0.1 through `proxy`, from one of many source addresses so that ports in TIME_WAIT don't
 * run out. Rejects with the step and the reason.
 */
export const dial = (proxy: Address, port: number): Promise<Client> =>
  new Promise((resolve, reject) => {
    let step = "connect"
    let client: Client | undefined
    let head: Buffer = Buffer.alloc(0)
    const { login } = proxy
    const method = login === undefined ? 0 : 2
    const request = (): void => {
      step = "reply"
      head = head.subarray(2)
      socket.write(Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, port >> 8, port & 255]))
    }
    const shake = (chunk: Buffer): void => {
      head = head.length === 0 ? chunk : Buffer.concat([head, chunk])
      if (step === "greeting" && head.length >= 2) {
        if (head[0] !== 5 || head[1] !== method) return void socket.destroy(new Error(`method ${head[1]}`))
        if (login === undefined) request()
        else {
          step = "login"
          head = head.subarray(2)
          socket.write(loginMessage(login))
        }
      }
      if (step === "login" && head.length >= 2) {
        if (head[1] !== 0) return void socket.destroy(new Error("login refused"))
        request()
      }
      if (step !== "reply" || head.length < 4) return
      if (head[1] !== 0) return void socket.destroy(new Error(`code ${head[1]}`))
      const length = head[3] === 4 ? 22 : 10
      if (head.length < length) return
      if (head.length > length) return void socket.destroy(new Error("data before it was asked for"))
      client = new Client(socket)
      resolve(client)
    }
    const socket = Net.connect({
      host: proxy.host,
      port: proxy.port,
      localAddress: `127.0.0.${2 + dialled++ % sources}`,
      noDelay: true,
      onread: {
        buffer: scratch,
        callback: (length) => {
          const chunk = scratch.subarray(0, length)
          if (client === undefined) {
            shake(chunk)
            // The next read goes into the same place.
            if (head.length > 0) head = Buffer.from(head)
          } else client.onData(chunk)
          return true
        }
      }
    }, () => {
      step = "greeting"
      socket.write(Buffer.from([5, 1, method]))
    })
    let reason: string | undefined
    socket.setTimeout(patience, () => socket.destroy(new Error("timeout")))
    socket.on("error", (error: NodeJS.ErrnoException) => {
      reason = error.code ?? error.message
    })
    socket.once("close", () => {
      if (client === undefined) reject(new Error(`${step}: ${reason ?? "closed by the proxy"}`))
      else client.onClose(reason)
    })
  })
