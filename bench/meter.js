// What is read while something is measured: time, processor, latencies, memory, disk, the event loop.
import { readFileSync, readdirSync, statSync } from 'node:fs'
import { createHistogram, monitorEventLoopDelay } from 'node:perf_hooks'
import { join } from 'node:path'

/**
 * Runs until `stop(operations)`, which returns the wall-clock and the processor time of one operation, of all threads
 * of this process, in microseconds, and the anonymous memory at that moment (what is mapped from files is not in it).
 */
export function stopwatch() {
  const cpu = process.cpuUsage()
  const start = performance.now()
  return {
    stop(operations = 1) {
      const wallUs = (performance.now() - start) * 1000
      const { user, system } = process.cpuUsage(cpu)
      return { figure: wallUs / operations, cpuUs: (user + system) / operations, anonymousMiB: memory('RssAnon') }
    },
  }
}

/** How long single operations took: `record(ms)`, and `summary()` in microseconds. */
export function latencies(histogram = createHistogram()) {
  return {
    histogram,
    record: (ms) => histogram.record(Math.max(1, Math.round(ms * 1e6))),
    summary: () => latencySummary(histogram),
  }
}

export function latencySummary(histogram) {
  const us = (ns) => ns / 1000
  return {
    p50: us(histogram.percentile(50)),
    p99: us(histogram.percentile(99)),
    p999: us(histogram.percentile(99.9)),
    max: us(histogram.max),
  }
}

/** How late a timer of 1 ms was while it ran: what else was to run on the event loop waited for so long. */
export function loopDelay() {
  const delay = monitorEventLoopDelay({ resolution: 1 })
  delay.enable()
  const started = performance.now()
  const ms = (ns) => Math.max(0, ns / 1e6 - 1)
  return {
    stop() {
      delay.disable()
      // Where all calls are synchronous, the loop has not turned once.
      const whole = performance.now() - started
      if (delay.count === 0) return { loopP99Ms: whole, loopMaxMs: whole }
      return { loopP99Ms: ms(delay.percentile(99)), loopMaxMs: ms(delay.max) }
    },
  }
}

/** A figure of /proc/self/status, in MiB: `VmHWM` (most that was resident) or `RssAnon`. */
export function memory(name) {
  const found = new RegExp(`^${name}:\\s*(\\d+) kB`, 'm').exec(readFileSync('/proc/self/status', 'utf8'))
  return found === null ? Number.NaN : Number(found[1]) / 1024
}

/** What the files of a directory take up on disk, in MiB. */
export function diskMiB(directory) {
  let blocks = 0
  for (const name of readdirSync(directory, { recursive: true })) blocks += statSync(join(directory, name)).blocks
  return (blocks * 512) / 2 ** 20
}

export const median = (list) => {
  const sorted = [...list].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2
}

export const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, seconds * 1000))
