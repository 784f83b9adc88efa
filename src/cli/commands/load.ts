// mmapdb load: writes many records from many threads and processes at once, says how fast that went,
// and reads every one of them back. This is the command; the load itself is load/run.ts.
import { Command, InvalidArgumentError, Option } from 'commander'
import { InvalidError } from '../../errors.js'
import type { LoadOptions } from '../load/job.js'
import { DEFAULT_OPS, INPUT_BATCH } from '../load/plan.js'
import { MAX_SYNTHETIC_OPS } from '../load/synthetic-records.js'
import { globalsOf, valueEncodingOption, whole } from '../shared/context.js'
import { BIG_INTEGERS } from '../../encoding/json-text.js'
import { belowHelp } from '../shared/terminal.js'

const MAX_WORKERS = 64
const MAX_PROCESSES = 64

export const loadCommand = (): Command =>
  new Command('load')
    .description('Write many records from many threads and processes at once, then read every one of them back.')
    .option('--ops <n>', `synthetic records to write (default: ${DEFAULT_OPS})`, whole(1, MAX_SYNTHETIC_OPS))
    .option('--workers <n>', 'worker threads that write, in each process', whole(1, MAX_WORKERS), 4)
    .option('--processes <n>', 'spread the work over this many separate processes', whole(1, MAX_PROCESSES))
    .option('--batch <n>', `records per commit (default: 1; with --input ${INPUT_BATCH})`, whole(1, 1_000_000))
    .option('--value-size <bytes>', 'size of a synthetic value', whole(0, 64 * 1024 * 1024), 100)
    .option('--seed <n>', 'determines order and values of synthetic records', whole(0, 2 ** 31 - 1), 1)
    .option('--input <file>', 'load the records of a file instead; - is stdin')
    .addOption(
      new Option('--format <name>', 'format of the input (default: by the name of the file)').choices([
        'ndjson',
        'json',
        'csv',
        'tsv',
        'dump',
      ]),
    )
    .option('--encoding <name>', 'text encoding of the input, such as latin1 or utf-16le', 'utf-8')
    .addOption(
      new Option('--big-integers <how>', 'what to do about integers in JSON beyond 2^53, which a number cannot hold')
        .choices(BIG_INTEGERS)
        .default('refuse'),
    )
    .option(
      '--key-field <path>',
      'field that holds the key, with dots to reach inside (default: id or key, else the number of the record)',
      fieldPath,
    )
    .addOption(
      new Option('--on-error <what>', 'what to do about a bad record').choices(['stop', 'skip']).default('stop'),
    )
    .option('--no-verify', 'skip reading everything back at the end')
    .option(
      '--ack-log <file>',
      'append a line to this file for each commit, once it is acknowledged: its keys, separated by tabs',
    )
    .option('--force', 'write even if the disk has too little room for everything')
    .addOption(valueEncodingOption())
    .option('--checkpoint-bytes <n>', 'bytes of log between checkpoints (default: 64MiB)', whole(65536))
    .option('--segment-bytes <n>', 'bytes of one file of the log (default: 64MiB)', whole(4096))
    .addOption(new Option('--helper').hideHelp())
    .addHelpText(
      'after',
      belowHelp(`
Each commit is on disk before its thread starts the next one. Latencies are per commit.
Synthetic keys are "key:" and eleven digits: each number below --ops once, in a random order that
--seed determines. Values follow from key and seed. A record of an input is stored whole. If its
first record has a field "id" or "key", every record must have it. Of several records with the same
key the last one wins, and so does the last of several fields with the same name in one object. JSON
input is an array; NDJSON is one value per line; CSV and TSV need a header line, and their fields are
strings (TSV has no quotes).

A dump (mmapdb dump) is told by its first line; as stdin it needs --format dump. Its keys and values become
what they were. A file is checked as a whole before anything is written.

With --on-error stop a file is checked before anything is written, and so is a pipe of up to 64 MiB.
Each line is named that has text which is not UTF-8, a number that would be rounded, or a key or value
that cannot be stored. A longer pipe is loaded as it comes; if it stops at a bad record, the message
says how many records are in the database.

Examples:
  mmapdb load --ops 1000000 --workers 8 --batch 1000
  mmapdb load --ops 20000 --workers 2 --processes 4
  mmapdb load --input cities.json --key-field name
  zcat records.ndjson.gz | mmapdb load --input - --format ndjson
  mmapdb dump --db old.db | mmapdb load --db new.db --input - --format dump`),
    )
    .action(async (options: LoadOptions, command: Command) => {
      if (options.helper) {
        const { helpOut } = await import('../load/executors.js')
        await helpOut()
        return
      }
      checkCombination(options, command)
      const { loadDump, isDump } = await import('../load/dump-input.js')
      if (isDump(options)) {
        checkDumpOptions(command)
        await loadDump(options, globalsOf(command))
        return
      }
      const { runLoad } = await import('../load/run.js')
      await runLoad(options, globalsOf(command))
    })

function fieldPath(text: string): string {
  if (text === '' || text.split('.').includes(''))
    throw new InvalidArgumentError('It must be a name, or names with dots between them.')
  return text
}

/** Options that make sense only with an input. */
const NEED_INPUT: readonly (readonly [keyof LoadOptions, string])[] = [
  ['format', 'format'],
  ['keyField', 'key-field'],
  ['encoding', 'encoding'],
  ['bigIntegers', 'big-integers'],
  ['onError', 'on-error'],
]

/** What cannot be said of a dump. */
const NOT_FOR_DUMPS = ['keyField', 'encoding', 'bigIntegers', 'onError', 'processes', 'batch', 'ackLog'] as const

/** Throws `InvalidError` for options that make no sense with a dump. */
function checkDumpOptions(command: Command): void {
  const wrong = NOT_FOR_DUMPS.find((name) => command.getOptionValueSource(name) === 'cli')
  if (wrong === undefined) return
  const flag = wrong.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)
  throw new InvalidError(`--${flag} has no meaning for a dump, which says all of this itself. Leave it out.`)
}

/** Throws `InvalidError` if the options do not go together. */
function checkCombination(options: LoadOptions, command: Command): void {
  if (options.input !== undefined) {
    if (options.ops !== undefined) throw new InvalidError('Give --ops or --input, not both.')
    return
  }
  for (const [name, flag] of NEED_INPUT) {
    if (command.getOptionValueSource(name) === 'cli') throw new InvalidError(`--${flag} needs --input.`)
  }
}
