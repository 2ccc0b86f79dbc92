/** Text that is well-formed in HTML and in XML, made so that nothing from outside can be anything but text. */

/** What may stand inside of an element: made by this module only. */
export interface Markup {
  readonly markup: string
}

const entities: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\"": "&quot;",
  "'": "&#39;"
}

// XML has no way to write these at all, and some turn the direction of writing.
const unprintable =
  // oxlint-disable-next-line no-control-regex
  /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffe\uffff]/g

const escape = (text: string): string =>
  text.replace(unprintable, "\ufffd").replace(/[&<>"']/g, (character) => entities[character] ?? "")

export type Content = Markup | string | ReadonlyArray<Content>

const write = (content: Content): string => {
  if (typeof content === "string") return escape(content)
  return "markup" in content ? content.markup : content.map(write).join("")
}

/** An element. Texts in its attributes and its content are escaped; names are ours. */
export const element = (
  name: string,
  attributes: Readonly<Record<string, string | number>>,
  ...content: ReadonlyArray<Content>
): Markup => {
  const written = Object.entries(attributes).map(([key, value]) => ` ${key}="${escape(String(value))}"`).join("")
  const inner = write(content)
  // In HTML only these may, and must, have no end of their own; SVG's may.
  const isVoid = ["meta", "path", "line", "circle", "rect"].includes(name)
  return { markup: isVoid ? `<${name}${written}/>` : `<${name}${written}>${inner}</${name}>` }
}

/** What we wrote ourselves and is not to be escaped: a style sheet. */
export const own = (markup: string): Markup => ({ markup })
