// One load, from its options to its report.
import { closeSync, openSync, statSync, writeSync } from 'node:fs'
import type { OpenOptions } from '../../engine/options.js'
import { DEFAULT_ENCODING } from '../../encoding/values/codec.js'
import type { Stats } from '../../engine/stats.js'
import { FullError, InvalidError } from '../../errors.js'
import { encodingInHeader } from '../../inspect/offline-files.js'
import { engineOptions, openToWrite, type Globals } from '../shared/context.js'
import { Ended, EXIT } from '../shared/failure.js'
import { printable } from '../../encoding/notation.js'
import { plural, print, tell } from '../shared/output.js'
import { columnsOf } from '../shared/terminal.js'
import { ProcessExecutor, ThreadExecutor, type Executor } from './executors.js'
import type { Checked, JobContext, LoadOptions, PreparedJob, Written } from './job.js'
import { DEFAULT_OPS, INPUT_BATCH, type LoadPlan } from './plan.js'
import { nothingLine, reportLines, type LoadReport } from './report.js'

const SEGMENT_BYTES = 64 * 1024 * 1024

export async function runLoad(options: LoadOptions, globals: Globals): Promise<void> {
  const engineChoice = engineChoiceOf(options, globals)
  const plan = planOf(options, globals, engineChoice)
  if (options.ackLog !== undefined) checkAckLog(options.ackLog)
  const stopReading = new AbortController()
  const { signal } = stopReading
  const silent = globals.quiet || globals.json
  // Before anything is created: does the file exist, and what is its format?
  const prepared = await prepare({ options, plan, warn: warner(globals), silent, signal })

  const engine = openToWrite(globals.db, engineChoice)
  const threads = new ThreadExecutor(plan, { keepCheckpointing: true, startThreads: options.processes === undefined })
  const executor: Executor = options.processes === undefined ? threads : new ProcessExecutor(plan, options.processes)
  const onInterrupt = (): void => {
    if (signal.aborted) process.exit(EXIT.INTERRUPTED)
    stopReading.abort()
    executor.stop()
  }
  process.on('SIGINT', onInterrupt)
  process.on('SIGTERM', onInterrupt)
  try {
    const job = prepared(engine)
    await executor.ready()
    const before = engine.stats()
    const startedMs = performance.now()
    const written = await job.write(executor)
    const seconds = (performance.now() - startedMs) / 1000
    const after = engine.stats()
    const checks = options.verify && !signal.aborted && !(written.error && options.input !== undefined)
    const checked = checks ? await job.check(threads) : undefined
    const isEmpty = written.operations + written.unknown === 0
    if (isEmpty && written.error) throw written.error

    const report = reportOf({ options, plan, written, checked, seconds, before, after, interrupted: signal.aborted })
    await tellReport(report, options, globals)
    if (written.error) throw withCount(written.error, written.operations)
    if (report.lost) throw new Ended(EXIT.CORRUPT)
    if (signal.aborted) throw new Ended(EXIT.INTERRUPTED)
  } finally {
    process.off('SIGINT', onInterrupt)
    process.off('SIGTERM', onInterrupt)
    if (executor !== threads) await executor.close()
    await threads.close()
    engine.close()
  }
}

type Choice = OpenOptions & Pick<LoadPlan['engine'], 'valueEncoding'>

const engineChoiceOf = (options: LoadOptions, globals: Globals): Choice => ({
  valueEncoding: options.valueEncoding ?? encodingInHeader(engineOptions(globals.db)) ?? DEFAULT_ENCODING,
  ...(options.checkpointBytes === undefined ? {} : { checkpointBytes: options.checkpointBytes }),
  segmentBytes: options.segmentBytes ?? SEGMENT_BYTES,
})

const planOf = (options: LoadOptions, globals: Globals, choice: Choice): LoadPlan => ({
  engine: { ...engineOptions(globals.db, choice), valueEncoding: choice.valueEncoding },
  threads: options.workers,
  ops: options.ops ?? DEFAULT_OPS,
  seed: options.seed,
  valueSize: options.valueSize,
  batch: options.batch ?? (options.input === undefined ? 1 : INPUT_BATCH),
  ackLog: options.ackLog,
})

/** Each kind of job is loaded only if it is asked for: the parsers of inputs take time to load. */
async function prepare(context: JobContext): Promise<PreparedJob> {
  if (context.options.input !== undefined) return (await import('./records-job.js')).recordsJob(context)
  return (await import('./synthetic-job.js')).syntheticJob(context)
}

const warner =
  (globals: Globals) =>
  (message: string): void => {
    if (globals.json) tell(JSON.stringify({ warning: { message } }))
    else if (!globals.quiet) tell(`mmapdb: ${printable(message)}`)
  }

interface Run {
  readonly options: LoadOptions
  readonly plan: LoadPlan
  readonly written: Written
  readonly checked: Checked | undefined
  readonly seconds: number
  /** The database before and after the writing. */
  readonly before: Stats
  readonly after: Stats
  readonly interrupted: boolean
}

function reportOf({ options, plan, written, checked, seconds, before, after, interrupted }: Run): LoadReport {
  const flushes = after.commits.flushes - before.commits.flushes
  const committed = after.commits.operations - before.commits.operations
  // What other processes wrote meanwhile counts in these, too.
  const created = committed === written.operations ? after.entries - before.entries : undefined
  return {
    operations: written.operations,
    unknown: written.unknown,
    created,
    replaced: created === undefined ? undefined : written.operations - created,
    skipped: options.input === undefined ? undefined : written.skipped,
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
}

async function tellReport(report: LoadReport, options: LoadOptions, globals: Globals): Promise<void> {
  if (globals.json) await print(JSON.stringify(report))
  else if (globals.quiet) return
  else if (report.operations + report.unknown === 0) await print(nothingLine(report, options.input))
  else await print(reportLines(report, columnsOf(process.stdout)).join('\n'))
}

/** The error that stopped a load, with the number of records that the commits before it wrote. */
function withCount(error: Error, operations: number): Error {
  if (!(error instanceof FullError)) return error
  const before = `${plural(operations, 'record')} before it ${operations === 1 ? 'is' : 'are'} in the database.`
  return new FullError(error.message.replace(/ Nothing was written\.$/, ` This commit wrote nothing. ${before}`), {
    cause: error,
  })
}

/** Throws `InvalidError` if the ack log cannot be opened; creates it if it is not there. */
function checkAckLog(path: string): void {
  try {
    // Opening and closing a pipe would show its reader the end of it.
    if (statSync(path, { throwIfNoEntry: false })?.isFIFO()) return
    const fd = openSync(path, 'a')
    try {
      // Zero bytes: some devices refuse even that.
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
