/** What a worker and its supervisor tell each other. */
import * as Schema from "effect/Schema"
import * as ListenAddress from "../transport/ListenAddress.ts"

/** A listening socket, as it travels beside a message; only the system knows more of it. */
export interface Socket {
  close(): void
}

/** A file as it is to be read: of this version on the disk, or with this content whatever is there. */
const PinnedFile = Schema.Union([
  Schema.Struct({ path: Schema.String, version: Schema.String }),
  Schema.Struct({ path: Schema.String, bytes: Schema.Uint8ArrayFromBase64 })
])
export type PinnedFile = typeof PinnedFile.Type

/** What a worker is told of its place among the others. */
const place = {
  /** Where to listen, with no port 0 among them. */
  listen: Schema.Array(ListenAddress.Json),
  /** Its share. */
  maxConnections: Schema.optionalKey(Schema.Int)
}

export const ToWorker = Schema.TaggedUnion({
  /** Beside it comes a socket that listens already, by its address. Before `Serve`. */
  Socket: { address: Schema.String },
  /** Listen, and serve. */
  Serve: {
    ...place,
    /** Whether it listens by itself, beside the others, or lets the supervisor accept. */
    reusePort: Schema.Boolean,
    /** What the configuration is read from. */
    files: Schema.Array(PinnedFile)
  },
  /** Read the configuration again, from these files, and make ready to serve by it. `Prepared` answers. */
  Prepare: {
    files: Schema.Array(PinnedFile),
    ...place
  },
  /** Serve by what was made ready. `Committed` answers. */
  Commit: {},
  /** Forget what was made ready. */
  Abort: {},
  /** Stop listening, let connections end for as long as the settings say, and end. */
  Drain: {},
  /** The answer to `Stopped`: no client is on its way to this worker any more. */
  End: {}
})
export type ToWorker = typeof ToWorker.Type

export const FromWorker = Schema.TaggedUnion({
  /** Ready for orders. */
  Started: {},
  /** Beside it comes the socket of a listener, by its address; it outlives the worker that opened it. */
  Socket: { address: Schema.String },
  /** All listeners are there. */
  Listening: {},
  /** The configuration is ready to be served by; or why it is not. */
  Prepared: { problem: Schema.optionalKey(Schema.String) },
  /** It is in force, and so many connections were ended by it; or why all is as it was. */
  Committed: { ended: Schema.Int, problem: Schema.optionalKey(Schema.String) },
  /** How many connections are being served. */
  Sessions: { running: Schema.Int },
  /** It can't serve: the line and the exit code for whoever started the program. */
  Failed: { exitCode: Schema.Literals([1, 2]), message: Schema.String },
  /** It has stopped to listen, and all connections have ended; how many clients were turned away. */
  Stopped: { refused: Schema.Int }
})
export type FromWorker = typeof FromWorker.Type

/** As JSON. */
export const encode = {
  toWorker: Schema.encodeSync(ToWorker),
  fromWorker: Schema.encodeSync(FromWorker)
}

/** `none` for messages that are not ours: Node sends some of its own. */
export const decode = {
  toWorker: Schema.decodeUnknownOption(ToWorker),
  fromWorker: Schema.decodeUnknownOption(FromWorker)
}
