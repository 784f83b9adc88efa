// Places where a test can stop this process dead, named in the environment:
//   MMAPDB_CRASH_AT=<point>[:<n>]   SIGKILL at the n-th arrival there (1 if left out)
//   MMAPDB_STOP_AT=<point>[:<n>]    the same with SIGSTOP
// Nothing here does anything unless one of them is set when the module is loaded, or a simulation
// observes the points.

/** Every named point, in the order of a write's life. */
export const CRASH_POINTS = [
  'before-append',
  'after-append',
  'segment-created',
  'segment-linked',
  'segment-moved',
  'after-flush',
  'mid-apply',
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

function parse(text: string | undefined, signal: 'SIGKILL' | 'SIGSTOP') {
  if (text === undefined || text === '') return undefined
  const [point, count] = text.split(':')
  return { point, left: Number(count ?? 1), signal }
}

const armed = parse(process.env['MMAPDB_CRASH_AT'], 'SIGKILL') ?? parse(process.env['MMAPDB_STOP_AT'], 'SIGSTOP')

let observer: ((point: CrashPoint) => void) | undefined

/** Calls `observe` at every point from now on: a simulation takes its turns there. */
export function observeCrashPoints(observe: ((point: CrashPoint) => void) | undefined): void {
  observer = observe
}

export function crashPoint(point: CrashPoint): void {
  observer?.(point)
  if (armed === undefined || armed.point !== point || --armed.left !== 0) return
  process.kill(process.pid, armed.signal)
  // The signal may be delivered to another thread first: never run on past the point.
  if (armed.signal === 'SIGKILL') Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0)
}
