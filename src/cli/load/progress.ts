// How far a load is: a bar on a terminal, a line for every tenth or five seconds elsewhere, nothing with --quiet and
// --json. Goes to stderr: stdout is for the result.
import cliProgress from 'cli-progress'
import { number, tell } from '../shared/output.js'
import { columnsOf, showsUnicode } from '../shared/terminal.js'

const INTERVAL_MS = 100
/** A line at least this often. */
const LINE_EVERY_MS = 5000

interface Progress {
  /** `isDone`: the end was reached. */
  stop(isDone?: boolean): void
}

/** How much of `total` is done, and the operations to show. */
interface ProgressState {
  readonly done: number
  readonly operations: number
}

export function startProgress(
  what: string,
  total: number | undefined,
  stateNow: () => ProgressState,
  silent: boolean,
): Progress {
  if (silent) return { stop: () => undefined }
  return process.stderr.isTTY && process.env['TERM'] !== 'dumb' && total !== undefined
    ? bar(what, total, stateNow)
    : lines(what, total, stateNow)
}

function bar(what: string, total: number, stateNow: () => ProgressState): Progress {
  const startedMs = performance.now()
  const [full, empty] = showsUnicode() ? ['█', '░'] : ['#', '-']
  const draw = ({ done, operations }: ProgressState): string => {
    const seconds = Math.max(0.001, (performance.now() - startedMs) / 1000)
    const share = total === 0 ? 1 : Math.min(1, done / total)
    const left = share === 0 ? '' : `${duration((seconds / share) * (1 - share))} left`
    const parts = [number(operations), `${number(Math.round(operations / seconds))}/s`, left].filter(
      (part) => part !== '',
    )
    return progressLine(what, share, parts, columnsOf(process.stderr) ?? 80, full, empty)
  }
  const it = new cliProgress.SingleBar({
    format: (_options, _params, now: ProgressState) => draw(now),
    hideCursor: true,
    stream: process.stderr,
  })
  it.start(total, 0, { done: 0, operations: 0 })
  const show = (): void => {
    const now = stateNow()
    it.update(Math.min(now.done, total), now)
  }
  const timer = setInterval(show, INTERVAL_MS)
  return {
    stop: (isDone = true) => {
      clearInterval(timer)
      if (isDone) show()
      it.stop()
    },
  }
}

const MAX_BAR_COLUMNS = 40
const MIN_BAR_COLUMNS = 5

/** One line of at most `columns` - 1 characters: the percentage first, then what there is room for. */
export function progressLine(
  what: string,
  share: number,
  parts: readonly string[],
  columns: number,
  full: string,
  empty: string,
): string {
  const most = columns - 1
  const percentage = `${String(Math.floor(share * 100)).padStart(3)}%`
  let line = what.length + 1 + percentage.length <= most ? `${what} ${percentage}` : percentage.trim()
  for (const part of parts) {
    if (line.length + 3 + part.length > most) break
    line += ` | ${part}`
  }
  const room = Math.min(MAX_BAR_COLUMNS, most - line.length - 1)
  if (room < MIN_BAR_COLUMNS || !line.startsWith(what)) return line
  const filled = Math.round(share * room)
  return `${what} ${full.repeat(filled)}${empty.repeat(room - filled)}${line.slice(what.length)}`
}

function duration(seconds: number): string {
  const s = Math.round(seconds)
  return s < 60
    ? `${s}s`
    : s < 3600
      ? `${Math.floor(s / 60)}m${s % 60}s`
      : `${Math.floor(s / 3600)}h${Math.floor((s % 3600) / 60)}m`
}

function lines(what: string, total: number | undefined, stateNow: () => ProgressState): Progress {
  let tenth = 0
  let saidMs = performance.now()
  const show = (isDone: boolean): void => {
    const { done, operations } = stateNow()
    // All of the input has been read before its last records are done.
    const percent =
      total === undefined ? 0 : total === 0 ? 100 : Math.min(isDone ? 100 : 99, Math.floor((done / total) * 100))
    const isTenth = Math.floor(percent / 10) > tenth
    if (!isTenth && performance.now() - saidMs < LINE_EVERY_MS) return
    saidMs = performance.now()
    tenth = Math.floor(percent / 10)
    tell(total === undefined ? `${what}: ${number(operations)}` : `${what}: ${percent}% (${number(operations)})`)
  }
  const timer = setInterval(() => show(false), INTERVAL_MS)
  return {
    stop: (isDone = true) => {
      clearInterval(timer)
      if (isDone) show(true)
    },
  }
}
