/** Servers on free ports of 127.0.0.1, and those that send back what they get. */
import * as Net from "node:net"

/** Ports of one echo, so that those of its clients don't run out. */
const echoPorts = 16

export interface Server {
  readonly port: number
  readonly close: () => void
}

export const serve = (onSocket: (socket: Net.Socket) => void): Promise<Server> =>
  new Promise((resolve, reject) => {
    const server = Net.createServer({ noDelay: true }, onSocket)
    server.once("error", reject)
    server.listen({ host: "127.0.0.1", port: 0, backlog: 1024 }, () => {
      const address = server.address()
      if (address !== null && typeof address === "object") {
        resolve({ port: address.port, close: () => server.close() })
      }
    })
  })

const echo = (socket: Net.Socket): void => {
  socket.on("data", (chunk) => socket.write(chunk))
  socket.on("error", () => socket.destroy())
}

export interface Echo {
  readonly ports: ReadonlyArray<number>
  readonly close: () => void
}

export const listen = async (): Promise<Echo> => {
  const servers = await Promise.all(Array.from({ length: echoPorts }, () => serve(echo)))
  return {
    ports: servers.map((server) => server.port),
    close: () => servers.forEach((server) => server.close())
  }
}
