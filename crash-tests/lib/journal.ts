// What a writer tells the outside world, so that it survives the writer: one file for each writer,
// a record before an operation is started and one when it is acknowledged. Only processes die here, not
// the machine: what has been handed to the kernel is there.
//
// A record: 0 8 time, milliseconds of the monotonic clock (float64)   8 4 operation   12 4 kind
import { closeSync, existsSync, openSync, readFileSync, writeSync } from 'node:fs'

const RECORD_BYTES = 16
const KIND = { STARTED: 1, ACKNOWLEDGED: 2, FAILED: 3, ENDED: 4 } as const

/** The same for all processes of a machine. */
export const monotonicMs = (): number => Number(process.hrtime.bigint()) / 1e6

export class JournalWriter {
  readonly #fd: number
  readonly #record = Buffer.alloc(RECORD_BYTES)

  constructor(path: string) {
    this.#fd = openSync(path, 'a')
  }

  #write(operation: number, kind: number): void {
    this.#record.writeDoubleLE(monotonicMs(), 0)
    this.#record.writeUInt32LE(operation, 8)
    this.#record.writeUInt32LE(kind, 12)
    writeSync(this.#fd, this.#record)
  }
  started(operation: number): void {
    this.#write(operation, KIND.STARTED)
  }
  acknowledged(operation: number): void {
    this.#write(operation, KIND.ACKNOWLEDGED)
  }
  failed(operation: number): void {
    this.#write(operation, KIND.FAILED)
  }
  /** The writer has ended as it was asked to, and closed the database. */
  ended(): void {
    this.#write(0, KIND.ENDED)
    closeSync(this.#fd)
  }
}

/** When an operation was started and acknowledged; Infinity if it never was. */
interface Span {
  readonly startedMs: number
  acknowledgedMs: number
  failed: boolean
}

export interface Journal {
  /** By operation: 0, 1, 2, ... without gaps. */
  readonly operations: Span[]
  readonly ended: boolean
  /** Times at which something was acknowledged, ascending. */
  readonly acknowledgedAtMs: number[]
  /** When an operation first failed; Infinity if none did. */
  readonly failedAtMs: number
}

export function readJournal(path: string): Journal {
  const operations: Span[] = []
  const acknowledgedAtMs: number[] = []
  let failedAtMs = Infinity
  let ended = false
  const bytes = existsSync(path) ? readFileSync(path) : Buffer.alloc(0)
  for (let at = 0; at + RECORD_BYTES <= bytes.length; at += RECORD_BYTES) {
    const timeMs = bytes.readDoubleLE(at)
    const n = bytes.readUInt32LE(at + 8)
    switch (bytes.readUInt32LE(at + 12)) {
      case KIND.STARTED:
        if (n !== operations.length) throw new Error(`${path} starts operation ${n} after ${operations.length}`)
        operations.push({ startedMs: timeMs, acknowledgedMs: Infinity, failed: false })
        break
      case KIND.ACKNOWLEDGED:
        operations[n]!.acknowledgedMs = timeMs
        acknowledgedAtMs.push(timeMs)
        break
      case KIND.FAILED:
        operations[n]!.failed = true
        failedAtMs = Math.min(failedAtMs, timeMs)
        break
      case KIND.ENDED:
        ended = true
        break
      default:
        throw new Error(`${path} has a record of an unknown kind at byte ${at}`)
    }
  }
  return { operations, ended, acknowledgedAtMs, failedAtMs }
}
