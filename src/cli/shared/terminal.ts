// The terminal: how wide it is and what it can show. Output that does not go to a terminal is left as it is.

/** Characters in a line of the terminal that `stream` writes to; undefined if it is not a terminal. */
export const columnsOf = (stream: NodeJS.WriteStream): number | undefined =>
  stream.isTTY ? stream.columns || 80 : undefined

/** True if the terminal shows more than ASCII, according to the environment. */
export const showsUnicode = (): boolean =>
  /utf-?8/i.test(process.env['LC_ALL'] || process.env['LC_CTYPE'] || process.env['LANG'] || '')

/** Width of the labels, at least. */
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

// ---- help --------------------------------------------------------------------------------------

/** Text below the help of a command, as narrow as the terminal. */
export const belowHelp =
  (text: string) =>
  ({ error }: { readonly error: boolean }): string =>
    fitted(text, columnsOf(error ? process.stderr : process.stdout))

/**
 * A text of paragraphs and lists. Lines that are longer than the terminal are broken between words. A line of a list
 * begins with two spaces, or with more if it continues the line above. Examples, which have no second column, are
 * left as they are.
 */
function fitted(text: string, columns: number | undefined): string {
  if (columns === undefined) return text
  return blocksOf(text)
    .flatMap((lines) => (lines.every(({ length }) => length <= columns) ? lines : reflowed(lines, columns)))
    .join('\n')
}

const isProse = (line: string): boolean => /^\S/.test(line)

/** Paragraphs, and the lines of lists with those that continue them. */
function blocksOf(text: string): string[][] {
  const blocks: string[][] = []
  for (const line of text.split('\n')) {
    const block = blocks.at(-1)
    const first = block?.[0] ?? ''
    const goesOn = isProse(line) ? isProse(first) : /^ {3}/.test(line) && /^ {2}\S/.test(first)
    if (block !== undefined && goesOn) block.push(line)
    else blocks.push([line])
  }
  return blocks
}

function reflowed(lines: readonly string[], columns: number): string[] {
  const text = lines.map((line, i) => (i === 0 ? line : line.trim())).join(' ')
  if (isProse(text)) return wrapped(text, columns)
  const [label] = /^ {2}\S.*? {2,}/.exec(text) ?? []
  if (label === undefined) return [...lines]
  const rest = text.slice(label.length)
  if (columns - label.length < longestWord(rest)) return [...lines]
  return wrapped(rest, columns - label.length).map((piece, i) => (i === 0 ? label : ' '.repeat(label.length)) + piece)
}
