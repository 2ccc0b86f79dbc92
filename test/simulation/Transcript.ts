/** What a client was told, message by message, read with the codecs of the protocol. */
import type * as Address from "../../src/protocol/Address.ts"
import type { Codec } from "../../src/protocol/Codec.ts"
import * as MethodSelection from "../../src/protocol/MethodSelection.ts"
import * as PasswordReply from "../../src/protocol/PasswordReply.ts"
import * as Reply from "../../src/protocol/Reply.ts"
import type { Answer } from "./HandshakePlan.ts"

export interface Transcript {
  readonly method: number | undefined
  readonly status: number | undefined
  readonly reply: { readonly code: number; readonly address: Address.Address } | undefined
  /** What came behind a success reply. */
  readonly payload: Uint8Array
  /** What is not as the RFC has it. */
  readonly violation: string | undefined
}

/** Reads as far as the bytes go: a cut message is none, and no violation. */
export const read = (bytes: Uint8Array): Transcript => {
  let rest = bytes
  let violation: string | undefined
  const next = <A>(codec: Codec<A>): A | undefined => {
    const decoded = codec.decode(rest)
    if (decoded._tag === "Failed") violation = decoded.error.message
    if (decoded._tag !== "Done") {
      // Nothing may follow a message that is not whole.
      rest = rest.subarray(rest.length)
      return undefined
    }
    rest = rest.subarray(decoded.size)
    return decoded.value
  }
  const method = next(MethodSelection.codec)?.method
  const login = method === MethodSelection.usernamePassword
  const status = login ? next(PasswordReply.codec)?.status : undefined
  const welcome = login ? status === PasswordReply.success : method === MethodSelection.noAuthentication
  const reply = welcome ? next(Reply.codec) : undefined
  const payload = reply?.code === Reply.succeeded ? rest : rest.subarray(rest.length)
  if (payload.length < rest.length) violation ??= `${rest.length} bytes behind a refusal`
  return { method, status, reply, payload, violation }
}

/** Whether an answer is there, or won't come any more. */
export const answered = (transcript: Transcript, awaited: Answer): boolean =>
  transcript[awaited] !== undefined || refused(transcript)

export const refused = ({ method, reply, status }: Transcript): boolean =>
  method === MethodSelection.noneAcceptable ||
  (status !== undefined && status !== PasswordReply.success) ||
  (reply !== undefined && reply.code !== Reply.succeeded)
