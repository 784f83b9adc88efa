// How long commits took: counted by threads and processes for themselves, and added up.

export interface Percentiles {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** How many commits took how many microseconds, those in three digits; as it is sent to other threads and processes. */
export type LatencyCounts = ReadonlyMap<number, number>

/** Latencies in microseconds, rounded up to three digits: so there are at most some thousand different ones. */
export class Latencies {
  readonly #counts = new Map<number, number>()
  #commits = 0

  recordMs(ms: number): void {
    const us = Math.max(1, Math.round(ms * 1000))
    const unit = 10 ** Math.max(0, Math.floor(Math.log10(us)) - 2)
    this.#count(Math.ceil(us / unit) * unit, 1)
  }

  get commits(): number {
    return this.#commits
  }

  get counts(): LatencyCounts {
    return this.#counts
  }

  add(counts: LatencyCounts): void {
    for (const [us, count] of counts) this.#count(us, count)
  }

  /** Each is a latency that was recorded; all 0 without any. */
  percentilesUs(): Percentiles {
    const ascending = [...this.#counts].sort(([a], [b]) => a - b)
    const at = (percent: number): number => {
      let left = Math.ceil((this.#commits * percent) / 100)
      return ascending.find(([, count]) => (left -= count) <= 0)?.[0] ?? 0
    }
    return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max: at(100) }
  }

  #count(us: number, count: number): void {
    this.#counts.set(us, (this.#counts.get(us) ?? 0) + count)
    this.#commits += count
  }
}
