/**
 * UTF-8 as it arrives. `TextDecoder` can't tell bytes that are not text *yet*
 * from bytes that never will be, so the check is made here, byte by byte, and
 * only what has passed it is decoded.
 */

/** The first byte that no legal text has at its place. */
export interface Fault {
  readonly at: number
  readonly why: "control character" | "not UTF-8"
}

// A byte order mark is text like any other here: dropped, the way back would not give the same bytes.
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })
const encoder = new TextEncoder()

const isControl = (byte: number): boolean => byte < 0x20 || byte === 0x7f

/** Bytes in the sequence that a lead byte starts; 0 when it starts none (Unicode Standard, table 3-7). */
const sequenceLength = (lead: number): number => {
  if (lead < 0x80) return 1
  if (lead < 0xc2 || lead > 0xf4) return 0
  return lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
}

// The second byte is where overlong forms, surrogates and what lies past U+10FFFF are told from text.
const secondByteMinimum = (lead: number): number => lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
const secondByteMaximum = (lead: number): number => lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf

/**
 * The first fault of a field that reaches from `start` to `end`, of which the
 * end may not have arrived. With `controls` refused, C0, DEL and C1 are faults.
 */
export const firstFault = (
  bytes: Uint8Array,
  start: number,
  end: number,
  controls: "allowed" | "refused"
): Fault | undefined => {
  let length = 0
  for (let at = start; at < end; at += length) {
    const lead = bytes[at]
    if (lead === undefined) return undefined
    if (controls === "refused" && isControl(lead)) return { at, why: "control character" }
    length = sequenceLength(lead)
    if (length === 0 || at + length > end) return { at, why: "not UTF-8" }
    for (let next = at + 1; next < at + length; next++) {
      const byte = bytes[next]
      if (byte === undefined) return undefined
      const minimum = next === at + 1 ? secondByteMinimum(lead) : 0x80
      const maximum = next === at + 1 ? secondByteMaximum(lead) : 0xbf
      if (byte < minimum || byte > maximum) return { at: next, why: "not UTF-8" }
      // U+0080 to U+009F
      if (controls === "refused" && lead === 0xc2 && byte < 0xa0) return { at: next, why: "control character" }
    }
  }
  return undefined
}

/** Whether text has no lone surrogate, and so is the same after a trip through bytes. */
export const isWellFormed = (text: string): boolean => !/\p{Surrogate}/u.test(text)

/** Bytes without a fault, as text. */
export const decode = (bytes: Uint8Array): string => decoder.decode(bytes)

/** Text without lone surrogates, as bytes. */
export const encode = (text: string): Uint8Array => encoder.encode(text)

/** Any bytes as one line of printable ASCII: all others, quotes and backslashes read `\xNN`. */
export const escape = (bytes: Uint8Array): string => {
  let text = ""
  for (const byte of bytes) {
    text += byte < 0x20 || byte > 0x7e || byte === 0x22 || byte === 0x5c
      ? `\\x${byte.toString(16).padStart(2, "0")}`
      : String.fromCharCode(byte)
  }
  return text
}
