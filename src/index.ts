/** The public face of Sluice. */
export { type Connection, ConnectionError } from "./transport/Connection.ts"
