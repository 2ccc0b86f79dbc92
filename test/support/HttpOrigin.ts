/** An HTTP server on loopback for a proxy to reach. */
import * as Effect from "effect/Effect"
import * as Http from "node:http"
import type * as Net from "node:net"

export const greeting = "through the sluice\n"

/** Sends a request's body back as it comes; a request without one gets the greeting. */
export const answer: Http.RequestListener = (request, response) => {
  if (request.method === "PUT") request.pipe(response)
  else response.end(greeting)
}

/** Listens on a free port until the scope closes, and gives the port. */
export const listen = (server: Http.Server, host = "127.0.0.1") =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.once("error", (error) => resume(Effect.die(error)))
      server.listen(0, host, () => {
        // A server that listens on a host and a port has an address of this shape.
        resume(Effect.succeed((server.address() as Net.AddressInfo).port))
      })
    }),
    () =>
      Effect.sync(() => {
        server.closeAllConnections()
        server.close()
      })
  )

export const httpOrigin = (host?: string) => Effect.suspend(() => listen(Http.createServer(answer), host))
