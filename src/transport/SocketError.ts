/** How a socket fails, as a `ConnectionError`. */
import { ConnectionError } from "./Connection.ts"

/** This side has closed it. */
export const closed = new ConnectionError({ reason: "Closed", code: "ECONNABORTED" })
/** The peer has reset it. */
export const reset = new ConnectionError({ reason: "Reset", code: "ECONNRESET" })

/** The operating system's name for an error: `ECONNREFUSED`. */
export const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "EUNKNOWN"

const resets = new Set(["ECONNRESET", "EPIPE", "ETIMEDOUT", "ECONNABORTED"])

/** From a Node error event. */
export const make = (error: Error & { readonly code?: string }): ConnectionError => {
  const code = error.code ?? "EUNKNOWN"
  return new ConnectionError({ reason: resets.has(code) ? "Reset" : "Failed", code })
}
