/** The README's table of flags. */
import * as Settings from "./Settings.ts"

// A bar ends a cell, even in code.
const code = (text: string): string => `\`${text.replaceAll("|", "\\|")}\``

const defaultOf = ({ default: value, kind, otherwise }: Settings.Setting): string => {
  if (kind === "switch") return "off"
  return value === undefined ? otherwise ?? "" : code(value)
}

const rowOf = (setting: Settings.Setting): ReadonlyArray<string> => [
  code(`--${setting.flag}${setting.metavar === undefined ? "" : ` ${setting.metavar}`}`),
  code(setting.variable),
  defaultOf(setting),
  setting.description +
  (setting.choices === undefined ? "" : `: ${setting.choices.join(", ")}`) +
  (setting.repeatable === true ? "; repeatable" : "")
]

const line = (cells: ReadonlyArray<string>): string => `| ${cells.join(" | ")} |`

/** Markdown with the columns aligned, as the formatter wants them: flag, environment, default, what it does. */
export const flagsTable = (): string => {
  const rows = [["flag", "environment", "default", "what it does"], ...Settings.all.map(rowOf)]
  const widths = [0, 1, 2, 3].map((column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)))
  const [head = "", ...body] = rows.map((row) => line(row.map((cell, column) => cell.padEnd(widths[column] ?? 0))))
  return [head, line(widths.map((width) => "-".repeat(width))), ...body].join("\n")
}
