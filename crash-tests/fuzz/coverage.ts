// Which blocks of the code under test have run, from V8 itself. Blocks are counted by how often they
// ran, in powers of two, so that a loop that goes round more often than ever is news as well.
import { Session, type Profiler } from 'node:inspector'

export class Coverage {
  readonly #session = new Session()
  readonly #seen = new Map<string, number>()

  constructor() {
    this.#session.connect()
    this.#session.post('Profiler.enable')
    this.#session.post('Profiler.startPreciseCoverage', { callCount: true, detailed: true })
  }

  get size(): number {
    return this.#seen.size
  }

  /** Counts what has run since the last call; true if some of it is news. */
  take(): boolean {
    let news = false
    this.#session.post('Profiler.takePreciseCoverage', (error, { result }: Profiler.TakePreciseCoverageReturnType) => {
      if (error !== null) throw error
      for (const script of result) {
        if (!script.url.includes('/dist/src/')) continue
        for (const { ranges } of script.functions) {
          for (const { startOffset, endOffset, count } of ranges) {
            if (count === 0) continue
            const where = `${script.url}:${startOffset}:${endOffset}`
            const bucket = 1 << Math.min(30, Math.floor(Math.log2(count)))
            const before = this.#seen.get(where) ?? 0
            if ((before & bucket) !== 0) continue
            this.#seen.set(where, before | bucket)
            news = true
          }
        }
      }
    })
    return news
  }
}
