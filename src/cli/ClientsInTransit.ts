/**
 * Clients between `node:cluster`, which has accepted them, and the worker to which it deals them out. It forgets those
 * of a worker that dies before it says whether it took them: nobody would ever close them, or serve them.
 */
import * as Predicate from "effect/Predicate"
import type { Worker } from "node:cluster"
import type { Socket } from "./WorkerMessage.ts"

/** Those on their way to a worker, by the number of the message that brings them. */
export const watch = ({ process }: Worker): ReadonlyMap<unknown, Socket> => {
  const clients = new Map<unknown, Socket>()
  // Neither the messages of `node:cluster` nor the event for them are in the types.
  process.on("internalMessage" as "message", (message) => {
    if (Predicate.hasProperty(message, "ack")) clients.delete(message.ack)
  })
  const send = process.send
  process.send = (message: object, ...rest: ReadonlyArray<unknown>): boolean => {
    const [handle] = rest
    if (Predicate.hasProperty(message, "act") && message.act === "newconn" && Predicate.hasProperty(message, "seq")) {
      // What is sent beside such a message is a client's.
      clients.set(message.seq, handle as Socket)
    }
    return Reflect.apply(send, process, [message, ...rest])
  }
  return clients
}
