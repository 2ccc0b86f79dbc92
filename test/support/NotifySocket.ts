/** The service manager's end of sd_notify(3). Node has no Unix datagrams, so that Python receives them. */
import * as Effect from "effect/Effect"
import { spawn } from "node:child_process"
import { join } from "node:path"
import * as Certificates from "./Certificates.ts"
import { within } from "./Polling.ts"

const receiver = `
import socket, sys
receiver = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
receiver.bind(sys.argv[1])
print("bound", flush=True)
while True:
    print(receiver.recv(4096).decode().strip().replace("\\n", " "), flush=True)
`

/** What systemd-notify says for itself, so that it is not gone before it was heard. */
const barrier = "BARRIER=1"

/** Receives for the scope's time. */
export const make = Effect.gen(function*() {
  const path = join(yield* Certificates.directory, "notify.sock")
  let text = ""
  yield* Effect.acquireRelease(
    Effect.sync(() => {
      const child = spawn("/usr/bin/python3", ["-c", receiver, path], { stdio: ["ignore", "pipe", "inherit"] })
      child.on("error", () => {})
      child.stdout.on("data", (data) => text += String(data))
      return child
    }),
    (child) => Effect.sync(() => void child.kill("SIGKILL"))
  )
  const lines = () => text.split("\n").slice(0, -1)
  if (!(yield* within(Effect.sync(() => lines()[0] === "bound"), "5 seconds"))) {
    return yield* Effect.die(new Error("/usr/bin/python3 is missing: install the Debian package python3-socks"))
  }
  return {
    path,
    /** What has been said so far. */
    words: () => lines().slice(1).filter((line) => line !== barrier)
  }
})
