/** Text from outside, made safe to print: one line stays one line, and nothing in it steers a terminal. */

// C0, DEL, C1, the Unicode line ends, and what turns the direction of writing (which shows one text as another).
// oxlint-disable-next-line no-control-regex
const unsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g
// oxlint-disable-next-line no-control-regex
const anyUnsafe = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/

const short: Readonly<Record<string, string>> = { "\n": "\\n", "\r": "\\r", "\t": "\\t" }

const hex = (character: string, digits: number): string => character.charCodeAt(0).toString(16).padStart(digits, "0")

const toShell = (character: string): string =>
  short[character] ?? (character < "\u0100" ? `\\x${hex(character, 2)}` : `\\u${hex(character, 4)}`)

const toJson = (character: string): string => `\\u${hex(character, 4)}`

/** Escapes control characters as `\n`, `\x1b` or `\u2028`, and leaves everything else alone. */
export const escape = (text: string): string => anyUnsafe.test(text) ? text.replace(unsafe, toShell) : text

/** The same within a text that is JSON already, and stays so. */
export const escapeJson = (json: string): string => anyUnsafe.test(json) ? json.replace(unsafe, toJson) : json

/** In double quotes, with everything in it escaped that would end them or leave the line. */
export const quoteWhole = (text: string): string => `"${escape(text.replace(/["\\]/g, "\\$&"))}"`

const longest = 100

/** What is longer than 100 characters ends there, with an ellipsis: a complaint has to be read. */
export const cut = (text: string): string =>
  // No half of a pair of surrogates is left.
  text.length > longest ? `${text.slice(0, longest).replace(/[\ud800-\udbff]$/, "")}…` : text

/** For a complaint: in double quotes, escaped, and not longer than a line has room for. */
export const quote = (text: string): string => quoteWhole(cut(text))
