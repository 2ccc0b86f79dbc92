/** Whether a page is what it should be, for pages that are XML too. */

/** What refers to another place, in a tag or a style: all but the name of SVG's namespace, which nobody fetches. */
const outside = (page: string): ReadonlyArray<string> => {
  const text = page.replaceAll("xmlns=\"http://www.w3.org/2000/svg\"", "")
  const loaders = /<(?:script|link|iframe|img|object|embed|base)\b|<[^>]*\s(?:src|href|srcset|action|on\w+)=[^>]*>/gi
  return [...text.matchAll(loaders), ...text.matchAll(/https?:\/\/|url\(|@import/gi)].map(([found]) => found)
}

/** Tags without their other half, stray characters, and references to the outside. */
export const problems = (page: string): ReadonlyArray<string> => {
  const found = [...outside(page)]
  const open: Array<string> = []
  const body = page.replace(/^<!DOCTYPE html>\n/, "")
  if (body === page) found.push("no doctype")
  const tag = /<(\/?)([a-z][a-z\d]*)((?: [a-zA-Z\d-]+="[^"<]*")*)(\/?)>/g
  for (const [, isEnd, name = "", , isVoid] of body.matchAll(tag)) {
    if (isEnd === "/") {
      const last = open.pop()
      if (last !== name) found.push(`</${name}> ends <${last}>`)
    } else if (isVoid !== "/") {
      open.push(name)
    }
  }
  found.push(...open.map((name) => `<${name}> has no end`))
  const rest = body.replaceAll(tag, "").replaceAll(/&(?:amp|lt|gt|quot|#39);/g, "")
  found.push(...[...rest.matchAll(/[<&].{0,20}/g)].map(([stray]) => `stray ${stray}`))
  return found
}
