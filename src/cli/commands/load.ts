// mmapdb load: writes many records from many threads and processes at once, says how fast that went,
// and reads every one of them back.
import type { Checked, LoadOptions } from '../load/job.js'
import { Command, InvalidArgumentError, Option } from 'commander'
import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import { FullError, InvalidError } from '../../errors.js'
import type { OpenOptions } from '../../engine/options.js'
import { DEFAULT_ENCODING } from '../../encoding/values/codec.js'
import { engineOptions, globalsOf, openToWrite, valueEncodingOption, whole, type Globals } from '../shared/context.js'
import { encodingInHeader } from '../../inspect/offline-files.js'
import { Ended, EXIT } from '../shared/failure.js'
import { BIG_INTEGERS } from '../shared/json-text.js'
import type { Executor } from '../load/executors.js'
import type { LoadPlan } from '../load/plan.js'
import { printable } from '../shared/notation.js'
import { nothingLine, reportLines, type LoadReport } from '../load/report.js'
import { plural, print, tell } from '../shared/output.js'
import { MAX_SYNTHETIC_OPS } from '../load/synthetic-records.js'
import { columnsOf } from '../shared/terminal.js'

const DEFAULT_OPS = 10_000
const INPUT_BATCH = 1000
const MAX_WORKERS = 64
const MAX_PROCESSES = 64

export const loadCommand = (): Command =>
  new Command('load')
    .description('Write many records from many threads and processes at once, then read every one of them back.')
    .option('--ops <n>', `synthetic records to write (default: ${DEFAULT_OPS})`, whole(1, MAX_SYNTHETIC_OPS))
    .option('--workers <n>', 'worker threads that write, in each process', whole(1, MAX_WORKERS), 4)
    .option('--processes <n>', 'spread the work over so many processes of their own', whole(1, MAX_PROCESSES))
    .option('--batch <n>', `records to a commit (default: 1; with --input ${INPUT_BATCH})`, whole(1, 1_000_000))
    .option('--value-size <bytes>', 'size of a synthetic value', whole(0, 64 * 1024 * 1024), 100)
    .option('--seed <n>', 'determines order and values of synthetic records', whole(0, 2 ** 31 - 1), 1)
    .option('--input <file>', 'load the records of a file instead; - is stdin')
    .addOption(
      new Option('--format <name>', 'format of the input (default: by the name of the file)').choices([
        'ndjson',
        'json',
        'csv',
        'tsv',
      ]),
    )
    .option('--encoding <name>', 'text encoding of the input, such as latin1 or utf-16le', 'utf-8')
    .addOption(
      new Option('--big-integers <how>', 'what to do about integers of JSON beyond 2^53, which no number holds')
        .choices(BIG_INTEGERS)
        .default('refuse'),
    )
    .option(
      '--key-field <path>',
      'field that holds the key, dotted to reach inside (default: id or key, else the number of the record)',
      fieldPath,
    )
    .addOption(
      new Option('--on-error <what>', 'what to do about a bad record').choices(['stop', 'skip']).default('stop'),
    )
    .option('--no-verify', 'do not read everything back at the end')
    .option(
      '--ack-log <file>',
      'append a line to this file for each commit, once it is acknowledged: its keys, with tabs between them',
    )
    .option('--force', 'write even if the disk has too little room for everything')
    .addOption(valueEncodingOption())
    .option('--checkpoint-bytes <n>', 'bytes of log between checkpoints (default: 64MiB)', whole(65536))
    .option('--segment-bytes <n>', 'bytes of one file of the log (default: 64MiB)', whole(4096))
    .addOption(new Option('--helper').hideHelp())
    .addHelpText(
      'after',
      `
Each commit is on disk before the next one of its thread begins. Latencies are per commit.
Synthetic keys are "key:" and eleven digits, each number below --ops once, in a random order that
--seed determines; values can be told from key and seed. A record of an input is stored whole. If its
first record has a field "id" or "key", every record must have it. Of records with the same key the
last one wins, and of fields with the same name in one object. JSON input is an array; NDJSON is one
value per line; CSV and TSV need a header line, their fields are strings (TSV knows no quotes).

With --on-error stop a file is checked before anything is written, and so is what comes from a pipe up
to 64 MiB of it: text that is not UTF-8, numbers that would be rounded, keys and values that cannot be
stored are named by line. A longer pipe is loaded as it comes; where it stops, it says how many
records are in the database.

Examples:
  mmapdb load --ops 1000000 --workers 8 --batch 1000
  mmapdb load --ops 20000 --workers 2 --processes 4
  mmapdb load --input cities.json --key-field name
  zcat dump.ndjson.gz | mmapdb load --input - --format ndjson`,
    )
    .action(async (options: LoadOptions, command: Command) => {
      if (options.helper) {
        const { helpOut } = await import('../load/executors.js')
        await helpOut()
        return
      }
      if (options.input !== undefined && options.ops !== undefined)
        throw new InvalidError('Give --ops or --input, not both.')
      if (options.input === undefined) {
        const needInput: [keyof LoadOptions, string][] = [
          ['format', 'format'],
          ['keyField', 'key-field'],
          ['encoding', 'encoding'],
          ['bigIntegers', 'big-integers'],
          ['onError', 'on-error'],
        ]
        for (const [name, flag] of needInput) {
          if (command.getOptionValueSource(name) === 'cli') throw new InvalidError(`--${flag} needs --input.`)
        }
      }
      await load(options, globalsOf(command))
    })

function fieldPath(text: string): string {
  if (text === '' || text.split('.').includes(''))
    throw new InvalidArgumentError('It must be a name, or names with dots between them.')
  return text
}

async function load(options: LoadOptions, globals: Globals): Promise<void> {
  const { ThreadExecutor, ProcessExecutor } = await import('../load/executors.js')
  const fromInput = options.input !== undefined
  const valueEncoding = options.valueEncoding ?? encodingInHeader(engineOptions(globals.db)) ?? DEFAULT_ENCODING
  const engineChoice: OpenOptions = {
    valueEncoding,
    ...(options.checkpointBytes === undefined ? {} : { checkpointBytes: options.checkpointBytes }),
    segmentBytes: options.segmentBytes ?? 64 * 1024 * 1024,
  }
  const plan: LoadPlan = {
    engine: { ...engineOptions(globals.db, engineChoice), valueEncoding },
    threads: options.workers,
    ops: options.ops ?? DEFAULT_OPS,
    seed: options.seed,
    valueSize: options.valueSize,
    batch: options.batch ?? (fromInput ? INPUT_BATCH : 1),
    ackLog: options.ackLog,
  }
  if (options.ackLog !== undefined) checkAckLog(options.ackLog)
  let interrupted = false
  const stopReading = new AbortController()
  const makeJob = fromInput
    ? (await import('../load/records-job.js')).recordsJob
    : (await import('../load/synthetic-job.js')).syntheticJob
  const warn = (message: string): void => {
    if (globals.json) tell(JSON.stringify({ warning: { message } }))
    else if (!globals.quiet) tell(`mmapdb: ${printable(message)}`)
  }
  const context = {
    options,
    plan,
    warn,
    silent: globals.quiet || globals.json,
    interrupted: () => interrupted,
    signal: stopReading.signal,
  }
  // Before anything is created: is there such a file, what format is it in?
  const prepared = await makeJob(context)

  const engine = openToWrite(globals.db, engineChoice)
  const threads = new ThreadExecutor(plan, { keepCheckpointing: true, startThreads: options.processes === undefined })
  const executor: Executor = options.processes === undefined ? threads : new ProcessExecutor(plan, options.processes)
  const onInterrupt = (): void => {
    if (interrupted) process.exit(EXIT.INTERRUPTED)
    interrupted = true
    stopReading.abort()
    executor.stop()
  }
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onInterrupt)
  try {
    const job = prepared(engine)
    await executor.ready()
    const before = engine.stats()
    const begunMs = performance.now()
    const written = await job.write(executor)
    const seconds = (performance.now() - begunMs) / 1000
    const after = engine.stats()
    let checked: Checked | undefined
    if (options.verify && !interrupted && !(written.error && fromInput)) checked = await job.check(threads)
    const flushes = after.commits.flushes - before.commits.flushes
    const committed = after.commits.operations - before.commits.operations
    // Whatever else was written meanwhile counts in these, too.
    const created = committed === written.operations ? after.entries - before.entries : undefined
    if (written.operations + written.unknown === 0 && written.error) throw written.error
    const report: LoadReport = {
      operations: written.operations,
      unknown: written.unknown,
      created,
      replaced: created === undefined ? undefined : written.operations - created,
      skipped: fromInput ? written.skipped : undefined,
      seconds,
      operationsPerSecond: seconds > 0 ? written.operations / seconds : 0,
      workers: options.workers,
      processes: options.processes ?? 0,
      batch: plan.batch,
      commits: written.commits,
      latencyUs: written.latencies.percentilesUs(),
      flushes,
      operationsPerFlush: flushes > 0 ? committed / flushes : 0,
      checked: checked?.checked,
      lost: checked?.lost,
      examples: checked?.examples ?? [],
      interrupted,
    }
    if (globals.json) await print(JSON.stringify(report))
    else if (!globals.quiet)
      await print(
        written.operations + written.unknown === 0
          ? nothingLine(report, options.input)
          : reportLines(report, columnsOf(process.stdout)).join('\n'),
      )
    if (written.error) throw withCount(written.error, written.operations)
    if (report.lost) throw new Ended(EXIT.CORRUPT)
    if (interrupted) throw new Ended(EXIT.INTERRUPTED)
  } finally {
    process.off('SIGINT', onInterrupt)
    process.off('SIGTERM', onInterrupt)
    if (executor !== threads) await executor.close()
    await threads.close()
    engine.close()
  }
}

/** An error that stopped a load says of its own write that nothing was written; not of those before it. */
function withCount(error: Error, operations: number): Error {
  if (!(error instanceof FullError)) return error
  const before = `${plural(operations, 'record')} before it ${operations === 1 ? 'is' : 'are'} in the database.`
  return new FullError(
    error.message.replace(/ Nothing was written\.$/, ` Of this commit nothing was written. ${before}`),
    { cause: error },
  )
}

/** Throws `InvalidError` if the ack log cannot be opened; creates it if it is not there. */
function checkAckLog(path: string): void {
  try {
    // Whoever reads a pipe would see its end.
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO()) return
    const fd = openSync(path, 'a')
    try {
      // Nothing: some devices refuse even that.
      writeSync(fd, '')
    } finally {
      closeSync(fd)
    }
  } catch (cause) {
    throw new InvalidError(`The ack log ${path} cannot be written: ${(cause as Error).message}. Nothing was written.`, {
      cause,
    })
  }
}
