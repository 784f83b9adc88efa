// How far a load is: a bar on a terminal, a line for every tenth elsewhere, nothing if nobody wants
// to know. Goes to stderr: stdout is for the result.
import cliProgress from 'cli-progress'
import { number } from './output.js'

const INTERVAL_MS = 100
/** Without a known end: a line this often. */
const LINE_EVERY_MS = 5000

export interface Progress {
  stop(): void
}

/** Where things stand: how much of `total` is done, and the operations to show. */
export interface Standing {
  readonly done: number
  readonly operations: number
}

export function startProgress(what: string, total: number | undefined, standing: () => Standing, silent: boolean): Progress {
  if (silent) return { stop: () => undefined }
  return process.stderr.isTTY && total !== undefined ? bar(what, total, standing) : lines(what, total, standing)
}

function bar(what: string, total: number, standing: () => Standing): Progress {
  const it = new cliProgress.SingleBar(
    { format: `${what} {bar} {percentage}% | {operations} | {rate}/s | {eta_formatted} left`, hideCursor: true, stream: process.stderr },
    cliProgress.Presets.shades_classic,
  )
  const begunMs = performance.now()
  const payload = (operations: number) => ({
    operations: number(operations),
    rate: number(Math.round(operations / Math.max(0.001, (performance.now() - begunMs) / 1000))),
  })
  it.start(total, 0, payload(0))
  const show = (): void => {
    const { done, operations } = standing()
    it.update(Math.min(done, total), payload(operations))
  }
  const timer = setInterval(show, INTERVAL_MS)
  return {
    stop: () => {
      clearInterval(timer)
      show()
      it.stop()
    },
  }
}

function lines(what: string, total: number | undefined, standing: () => Standing): Progress {
  let tenth = 0
  let saidMs = performance.now()
  const show = (): void => {
    const { done, operations } = standing()
    if (total === undefined) {
      if (performance.now() - saidMs < LINE_EVERY_MS) return
      saidMs = performance.now()
      process.stderr.write(`${what}: ${number(operations)}\n`)
      return
    }
    const now = total === 0 ? 10 : Math.min(10, Math.floor((done / total) * 10))
    if (now <= tenth) return
    tenth = now
    process.stderr.write(`${what}: ${tenth * 10}% (${number(operations)})\n`)
  }
  const timer = setInterval(show, INTERVAL_MS)
  return {
    stop: () => {
      clearInterval(timer)
      show()
    },
  }
}
