// How long commits took: histograms that threads and processes fill separately and that are added up.
import { build, decodeFromCompressedBase64, encodeIntoCompressedBase64, type Histogram } from 'hdr-histogram-js'

export interface Percentiles {
  readonly p50: number
  readonly p90: number
  readonly p99: number
  readonly p999: number
  readonly max: number
}

/** Latencies in microseconds, three digits exact. */
export class Latencies {
  readonly #histogram: Histogram = build({ bitBucketSize: 32, numberOfSignificantValueDigits: 3 })

  recordMs(ms: number): void {
    this.#histogram.recordValue(Math.max(1, Math.round(ms * 1000)))
  }

  get commits(): number {
    return this.#histogram.totalCount
  }

  /** As text, to send to another thread or process. */
  encoded(): string {
    return this.commits === 0 ? '' : encodeIntoCompressedBase64(this.#histogram)
  }

  add(encoded: string): void {
    if (encoded !== '') this.#histogram.add(decodeFromCompressedBase64(encoded))
  }

  percentilesUs(): Percentiles {
    const max = this.commits === 0 ? 0 : this.#histogram.maxValue
    // A percentile is the upper end of its bucket.
    const at = (p: number): number => (this.commits === 0 ? 0 : Math.min(max, this.#histogram.getValueAtPercentile(p)))
    return { p50: at(50), p90: at(90), p99: at(99), p999: at(99.9), max }
  }
}
