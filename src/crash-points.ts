// Points where a test can kill or stop this process. The environment says where:
//   MMAPDB_CRASH_AT=<point>[:<n>]   SIGKILL when this point is reached for the n-th time (default 1)
//   MMAPDB_STOP_AT=<point>[:<n>]    the same with SIGSTOP
// Nothing here has an effect unless one of these is set when the module is loaded, or a simulation observes the
// points.

/** All points, in the order in which a write meets them. */
export const CRASH_POINTS = [
  'before-lock',
  'after-lock',
  'before-append',
  'after-append',
  'segment-created',
  'segment-linked',
  'segment-moved',
  'after-flush',
  'mid-apply',
  'after-outcomes',
  'before-publish',
  'after-publish',
  'growing-data',
  'checkpoint-begun',
  'mid-checkpoint',
  'before-headers',
  'between-headers',
  'after-headers',
  'recycling-segment',
  'mid-recovery',
  'before-truncate',
] as const
export type CrashPoint = (typeof CRASH_POINTS)[number]

/** Points in the table of record locks (engine/locks), which no write meets. */
export const LOCK_POINTS = [
  'lock-table-taken',
  'lock-requested',
  'lock-granted',
  'lock-removed',
  'lock-table-rebuilding',
  'lock-wake-up',
] as const
type LockPoint = (typeof LOCK_POINTS)[number]

function parse(text: string | undefined, signal: 'SIGKILL' | 'SIGSTOP') {
  if (text === undefined || text === '') return undefined
  const [point, count] = text.split(':')
  return { point, left: Number(count ?? 1), signal }
}

const armed = parse(process.env['MMAPDB_CRASH_AT'], 'SIGKILL') ?? parse(process.env['MMAPDB_STOP_AT'], 'SIGSTOP')

let observer: ((point: CrashPoint | LockPoint) => void) | undefined

/** Calls `observe` at every point from now on: a simulation switches between its processes there. */
export function observeCrashPoints(observe: ((point: CrashPoint | LockPoint) => void) | undefined): void {
  observer = observe
}

export function crashPoint(point: CrashPoint | LockPoint): void {
  observer?.(point)
  if (armed === undefined || armed.point !== point || --armed.left !== 0) return
  process.kill(process.pid, armed.signal)
  // The signal may reach another thread first: this thread must not run on past the point.
  if (armed.signal === 'SIGKILL') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}
