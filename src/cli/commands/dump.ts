// mmapdb dump: every entry of one moment as text, for mmapdb load and for other programs.
import { closeSync, fsyncSync, openSync, renameSync, rmSync, writeSync } from 'node:fs'
import { dirname } from 'node:path'
import { Command } from 'commander'
import { dump } from '../../database/dump.js'
import { open } from '../../database/open.js'
import { everywhereOptions, globalsOf } from '../shared/context.js'
import { interruptible } from '../shared/interruptible.js'
import { Lines, plural, tell } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

const PIECE_CHARACTERS = 256 * 1024

export const dumpCommand = (): Command =>
  new Command('dump')
    .description(
      'Write every entry of one moment as lines of JSON, which "mmapdb load" makes the same entries of again.',
    )
    .option('--output <file>', 'write to this file (default: stdout); it is replaced when the dump is whole')
    .addHelpText(
      'after',
      belowHelp(`
The first line says how values are encoded, the last one that the dump is whole. Keys and values are written in
the notation of the other commands, and as the base64 of their bytes where that would not be exact. Versions
are not part of it: a backup keeps them, and is faster.

  mmapdb dump --output all.ndjson
  mmapdb load --input all.ndjson --db new.db`),
    )
    .action(async ({ output }: { readonly output?: string }, command: Command) => {
      const { db, quiet, json } = globalsOf(command)
      const entries = await interruptible(async (signal) => {
        const database = await open(db, { ...everywhereOptions(), workers: 0, readOnly: true })
        try {
          const lines = dump(database, { signal })
          return output === undefined ? await toStdout(lines) : await toFile(lines, output)
        } finally {
          await database.close()
        }
      })
      if (output !== undefined && !quiet)
        tell(json ? JSON.stringify({ entries, output }) : `mmapdb: ${plural(entries, 'entry')} in ${output}.`)
    })

async function toStdout(lines: AsyncIterable<string>): Promise<number> {
  const out = new Lines()
  let last = ''
  for await (const line of lines) {
    last = line
    const waiting = out.write(line)
    if (waiting) await waiting
  }
  await out.flush()
  return entriesIn(last)
}

/** What the last line of a dump says. */
const entriesIn = (last: string): number => (JSON.parse(last) as { entries: number }).entries

/** Writes to a file beside `path`, flushes it, and gives it its name. */
async function toFile(lines: AsyncIterable<string>, path: string): Promise<number> {
  const unfinished = `${path}.unfinished`
  const fd = openSync(unfinished, 'w')
  let isDone = false
  try {
    let last = ''
    let text = ''
    for await (const line of lines) {
      last = line
      text += `${line}\n`
      if (text.length < PIECE_CHARACTERS) continue
      writeAll(fd, text)
      text = ''
    }
    writeAll(fd, text)
    fsyncSync(fd)
    renameSync(unfinished, path)
    isDone = true
    flushDirectory(dirname(path))
    return entriesIn(last)
  } finally {
    closeSync(fd)
    if (!isDone) rmSync(unfinished, { force: true })
  }
}

function writeAll(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at)
}

function flushDirectory(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
