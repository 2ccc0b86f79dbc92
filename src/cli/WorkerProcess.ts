/** A worker, as its supervisor sees it: a process, and what it has told so far. */
import * as Deferred from "effect/Deferred"
import * as Duration from "effect/Duration"
import * as Effect from "effect/Effect"
import { constVoid } from "effect/Function"
import * as Option from "effect/Option"
import type { SendHandle } from "node:child_process"
import type { Cluster, Worker } from "node:cluster"
import * as ClientsInTransit from "./ClientsInTransit.ts"
import { CommandError, failed } from "./CommandError.ts"
import type { Snapshot } from "./Snapshot.ts"
import * as WorkerMessage from "./WorkerMessage.ts"
import * as WorkerNumber from "./WorkerNumber.ts"

type Serve = Extract<WorkerMessage.ToWorker, { readonly _tag: "Serve" }>

/** What is to be served, and by which files. */
export interface Task {
  readonly serve: Omit<Serve, "files">
  readonly files: Snapshot
}

/** What a worker is told once it has started. */
export interface Orders extends Task {
  /**
   * The sockets of the listeners, by their address. The first worker that gets this map opens them, and puts them there;
   * those after it go on with the same, so that no client that waits to be accepted is lost between them.
   */
  readonly sockets: Map<string, WorkerMessage.Socket>
}

/** How a process ended. */
export interface Ending {
  /** Its exit code; `null` when a signal ended it. */
  readonly code: number | null
  readonly signal: string | null
}

/** How long a worker may take from its start to listening. */
const startTimeout = Duration.seconds(60)

/** How long a worker may take to read a configuration. */
const reloadTimeout = Duration.seconds(30)

export class WorkerProcess {
  readonly number: number
  /** How many connections it serves, or served when it ended; at most a moment old. */
  sessions = 0
  /** How many clients it has turned away, once it has stopped. */
  refused = 0
  private readonly worker: Worker
  readonly orders: Orders
  private readonly clients: ReadonlyMap<unknown, WorkerMessage.Socket>
  private readonly whenListening = Deferred.makeUnsafe<void, CommandError>()
  private answer: Deferred.Deferred<number, CommandError> | undefined = undefined
  private readonly whenEnded = Deferred.makeUnsafe<Ending>()

  /** Starts the process; throws when the system has no room for one. */
  constructor(cluster: Cluster, number: number, orders: Orders) {
    this.number = number
    this.orders = orders
    const worker = this.worker = cluster.fork({ [WorkerNumber.variable]: String(number) })
    this.clients = ClientsInTransit.watch(worker)
    worker.on("message", (message, handle) => this.told(message, handle))
    let ending: Ending | undefined
    const settle = () => {
      // What it said last may still be on its way.
      if (ending !== undefined && !worker.isConnected()) this.ended(ending)
    }
    worker.process.once("disconnect", settle)
    worker.process.once("exit", (code, signal) => {
      ending = { code, signal }
      settle()
    })
    worker.on("error", () => {
      // Nothing else follows when there never was a process.
      if (worker.process.pid === undefined) this.ended({ code: 1, signal: null })
    })
  }

  get pid(): number | undefined {
    return this.worker.process.pid
  }

  /** Until it listens on all addresses; fails when it can't, with the line for whoever started the program. */
  readonly listening: Effect.Effect<void, CommandError> = Effect.suspend(() =>
    Effect.timeoutOrElse(Deferred.await(this.whenListening), {
      duration: startTimeout,
      orElse: () => Effect.fail(failed(`worker ${this.number} does not start`))
    })
  )

  /** Until the process is gone. */
  readonly end: Effect.Effect<Ending> = Effect.suspend(() => Deferred.await(this.whenEnded))

  /** Asks it to make ready for another configuration; fails with why it can't. Tells whether it is still there. */
  prepare({ files, serve: { listen, maxConnections } }: Task): Effect.Effect<boolean, CommandError> {
    return Effect.suspend(() => {
      const place = { listen, ...maxConnections !== undefined && { maxConnections } }
      const silent = Effect.fail(failed(`worker ${this.number} does not take the configuration`))
      const answer = this.ask({ _tag: "Prepare", files: files.message, ...place }, silent)
      return Effect.map(answer, (ended) => ended !== undefined)
    })
  }

  /**
   * Lets it serve by what it made ready; fails with why it can't, and goes on as before then. Tells how many connections
   * that ended, or `undefined` when the worker is gone; one that says nothing is ended, since nobody knows what it does.
   */
  readonly commit: Effect.Effect<number | undefined, CommandError> = Effect.suspend(() => {
    const end = Effect.as(Effect.andThen(Effect.sync(() => this.kill()), this.end), undefined)
    return this.ask({ _tag: "Commit" }, end)
  })

  /** Lets it forget what it made ready. */
  abort(): void {
    this.tell({ _tag: "Abort" })
  }

  /** Asks it to let its connections end, and to end itself. */
  drain(): void {
    this.tell({ _tag: "Drain" })
  }

  /** Ends it at once. */
  kill(): void {
    this.worker.process.kill("SIGKILL")
  }

  /** One question at a time. Of a worker that ends, the answer is `undefined`; `silent` is that of one that has none. */
  private ask(
    question: WorkerMessage.ToWorker,
    silent: Effect.Effect<undefined, CommandError>
  ): Effect.Effect<number | undefined, CommandError> {
    const answer = this.answer = Deferred.makeUnsafe<number, CommandError>()
    this.tell(question)
    return Deferred.await(answer).pipe(
      Effect.raceFirst(Effect.as(this.end, undefined)),
      Effect.timeoutOrElse({ duration: reloadTimeout, orElse: () => silent })
    )
  }

  private answered(ended: number, problem: string | undefined): void {
    const answer = problem === undefined ? Effect.succeed(ended) : Effect.fail(failed(problem))
    if (this.answer !== undefined) Deferred.doneUnsafe(this.answer, answer)
  }

  /** Says something that is not about its work as a worker. */
  send(message: object): void {
    this.worker.process.send(message, undefined, constVoid)
  }

  /** Has all messages told to somebody else too. */
  hear(listener: (message: unknown) => void): void {
    this.worker.on("message", listener)
  }

  private told(message: unknown, handle: unknown): void {
    const known = Option.getOrUndefined(WorkerMessage.decode.fromWorker(message))
    switch (known?._tag) {
      case "Started":
        for (const [address, socket] of this.orders.sockets) this.tell({ _tag: "Socket", address }, socket)
        return this.tell({ ...this.orders.serve, files: this.orders.files.message })
      case "Socket":
        // Node makes an object of it before we see the message.
        return void this.orders.sockets.set(known.address, handle as WorkerMessage.Socket)
      case "Listening":
        return void Deferred.doneUnsafe(this.whenListening, Effect.void)
      case "Prepared":
        return this.answered(0, known.problem)
      case "Committed":
        return this.answered(known.ended, known.problem)
      case "Sessions":
        this.sessions = known.running
        return
      case "Failed":
        return void Deferred.doneUnsafe(this.whenListening, Effect.fail(new CommandError(known)))
      case "Stopped":
        this.refused = known.refused
        return this.tell({ _tag: "End" })
    }
  }

  private tell(message: WorkerMessage.ToWorker, socket?: WorkerMessage.Socket): void {
    // An object, as all of our messages. Of sockets, the types know only those with an object of Node's around them.
    const [json, handle] = [WorkerMessage.encode.toWorker(message) as object, socket as SendHandle]
    // One that is gone reads no orders.
    this.worker.process.send(json, handle, constVoid)
  }

  private ended(ending: Ending): void {
    this.clients.forEach((client) => client.close())
    const how = ending.signal === null ? `with ${ending.code}` : `by ${ending.signal}`
    Deferred.doneUnsafe(
      this.whenListening,
      Effect.fail(failed(`worker ${this.number} ended ${how} before it listened`))
    )
    Deferred.doneUnsafe(this.whenEnded, Effect.succeed(ending))
  }
}
