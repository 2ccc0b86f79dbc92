/** `npm run docs:flags`: writes the table of flags, which the build makes from the settings, into the README. */
import { readFileSync, writeFileSync } from "node:fs"
import { flagsTable } from "../dist/config/FlagsTable.js"

const readme = new URL("../README.md", import.meta.url)
const section = /(<!-- flags -->\n)[^]*?(<!-- \/flags -->)/

const text = readFileSync(readme, "utf8")
if (!section.test(text)) throw new Error("README.md has no section between <!-- flags --> and <!-- /flags -->")
// A function, since a `$` in the table would mean something in a replacement text.
writeFileSync(readme, text.replace(section, (_, start, end) => `${start}\n${flagsTable()}\n\n${end}`))
