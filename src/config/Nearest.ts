/** The name that somebody may have meant. The command line's parser has the same within, where nobody can call it. */

/** How many characters have to be put in, taken out or replaced to make one text of the other (Levenshtein). */
const distance = (a: string, b: string): number => {
  let above = Array.from({ length: b.length + 1 }, (_, index) => index)
  for (const [row, character] of Array.from(a).entries()) {
    const here = [row + 1]
    for (let column = 0; column < b.length; column++) {
      const replaced = (above[column] ?? 0) + Number(character !== b[column])
      here.push(Math.min(replaced, (above[column + 1] ?? 0) + 1, (here[column] ?? 0) + 1))
    }
    above = here
  }
  return above[b.length] ?? 0
}

/** `connect-timeout` and `connect_timeout` mean `connectTimeout`. */
const plain = (name: string): string => name.toLowerCase().replaceAll(/[-_]/g, "")

/** The nearest of the names, when it is near: at most a third of the characters differ, and two at least may. */
export const nearest = (name: string, names: Iterable<string>): string | undefined => {
  // What is that long is no typing error.
  if (name.length > 64) return undefined
  const wanted = plain(name)
  let best: string | undefined
  let least = Math.min(wanted.length, Math.max(2, Math.floor(wanted.length / 3)) + 1)
  for (const candidate of names) {
    const away = distance(wanted, plain(candidate))
    if (away < least) [best, least] = [candidate, away]
  }
  return best
}

/** `; did you mean listen?`, or nothing. */
export const hint = (name: string, names: Iterable<string>): string => {
  const meant = nearest(name, names)
  return meant === undefined ? "" : `; did you mean ${meant}?`
}
