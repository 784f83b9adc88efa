// mmapdb dump: every entry of one moment as text, for mmapdb load and for other programs.
import { Command } from 'commander'
import { dump } from '../../database/dump.js'
import { open } from '../../database/open.js'
import { everywhereOptions, globalsOf } from '../shared/context.js'
import { interruptible } from '../shared/interruptible.js'
import { writeLines } from '../shared/output-file.js'
import { Lines, plural, tell } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

export const dumpCommand = (): Command =>
  new Command('dump')
    .description(
      'Write every entry of one moment as lines of JSON, which "mmapdb load" makes the same entries of again.',
    )
    .option('--output <file>', 'write to this file (default, and -: stdout); it is replaced when the dump is whole')
    .addHelpText(
      'after',
      belowHelp(`
The first line says how values are encoded, the last one that the dump is whole. Keys and values are written in
the notation of the other commands, and as the base64 of their bytes where that would not be exact. When an
entry expires is part of it; versions are not: a backup keeps them, and is faster.

  mmapdb dump --output all.ndjson
  mmapdb load --input all.ndjson --db new.db`),
    )
    .action(async ({ output }: { readonly output?: string }, command: Command) => {
      const { db, quiet, json } = globalsOf(command)
      const isStdout = output === undefined || output === '-'
      const entries = await interruptible(async (signal) => {
        const database = await open(db, { ...everywhereOptions(), workers: 0, readOnly: true })
        try {
          const lines = new Counted(dump(database, { signal }))
          await (isStdout ? toStdout(lines) : writeLines(output, lines))
          return lines.entries
        } finally {
          await database.close()
        }
      })
      if (!isStdout && !quiet)
        tell(json ? JSON.stringify({ entries, output }) : `mmapdb: ${plural(entries, 'entry')} in ${output}.`)
    })

async function toStdout(lines: AsyncIterable<string>): Promise<void> {
  const out = new Lines()
  for await (const line of lines) {
    const waiting = out.write(line)
    if (waiting) await waiting
  }
  await out.flush()
}

/** Passes lines on, and notes how many entries they have: the last one says that. */
class Counted implements AsyncIterable<string> {
  readonly #lines: AsyncIterable<string>
  entries = 0

  constructor(lines: AsyncIterable<string>) {
    this.#lines = lines
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<string, void, undefined> {
    let last = ''
    for await (const line of this.#lines) yield (last = line)
    this.entries = (JSON.parse(last) as { entries: number }).entries
  }
}
