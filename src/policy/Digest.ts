/** Texts of all lengths as 32 bytes each, under a key that nobody outside this process can know. */
import { createHmac, randomBytes } from "node:crypto"

const key = randomBytes(32)

export const of = (text: string): Buffer => createHmac("sha256", key).update(text).digest()
