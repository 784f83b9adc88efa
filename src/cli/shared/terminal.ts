// The terminal that people look at: how wide it is and what it can show. What is no terminal gets
// everything as it is.

/** Characters in a line of the terminal behind `stream`; undefined if it is none. */
export const columnsOf = (stream: NodeJS.WriteStream): number | undefined =>
  stream.isTTY ? stream.columns || 80 : undefined

/** True if the terminal shows more than ASCII, as far as the environment tells. */
export const showsUnicode = (): boolean =>
  /utf-?8/i.test(process.env['LC_ALL'] || process.env['LC_CTYPE'] || process.env['LANG'] || '')

/** At least. */
const LABEL_COLUMNS = 21
const INDENT = '  '

/**
 * Labels with text beside them. Where a line would be longer than the terminal, the text goes on in the
 * next one below itself, or below its label if there is little room. `glue` in a text stands for a space
 * that does not end a line.
 */
export function labelled(
  rows: readonly (readonly [label: string, text: string])[],
  columns: number | undefined,
): string[] {
  const labelColumns = Math.max(LABEL_COLUMNS, ...rows.map(([label]) => label.length + 1))
  return rows.flatMap(([label, text]) => {
    const line = label.padEnd(labelColumns) + text
    if (columns === undefined || line.length <= columns) return [line.replaceAll(GLUE, ' ')]
    const room = columns - labelColumns
    const beside = room >= longestWord(text)
    const pieces = wrapped(text, beside ? room : columns - INDENT.length).map((piece) => piece.replaceAll(GLUE, ' '))
    if (!beside)
      return [
        ...wrapped(label.trim(), columns),
        ...pieces.map((piece) => (INDENT + piece).slice(-Math.max(columns, piece.length))),
      ]
    return pieces.map((piece, i) => (i === 0 ? label : '').padEnd(labelColumns) + piece)
  })
}

/** A space that does not end a line. */
export const GLUE = '\u00a0'

const longestWord = (text: string): number => Math.max(...text.split(/ +/).map((word) => word.length))

function wrapped(text: string, columns: number): string[] {
  const lines: string[] = []
  let line = ''
  for (const word of text.split(/ +/)) {
    if (line !== '' && line.length + 1 + word.length > columns) {
      lines.push(line)
      line = word
    } else line = line === '' ? word : `${line} ${word}`
  }
  return [...lines, line]
}
