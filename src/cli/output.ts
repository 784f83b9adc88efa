// Writing to stdout: in pieces large enough to be cheap, waiting while the reader is slow, and
// ending quietly when the reader has gone (`| head`).
import { once } from 'node:events'

const PIECE_CHARACTERS = 64 * 1024

/** A reader that has seen enough is no error. */
export function endQuietlyOnClosedPipe(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code === 'EPIPE') process.exit(process.exitCode ?? 0)
    throw error
  })
  process.stderr.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error
  })
}

/** Lines on their way to stdout. `await write(...)` whenever it returns a promise. */
export class Lines {
  #pending = ''

  /** Adds a line. Resolves at once unless the reader is behind. */
  write(line: string): Promise<void> | undefined {
    this.#pending += `${line}\n`
    return this.#pending.length >= PIECE_CHARACTERS ? this.flush() : undefined
  }

  async flush(): Promise<void> {
    const text = this.#pending
    this.#pending = ''
    if (text !== '' && !process.stdout.write(text)) await once(process.stdout, 'drain')
  }
}

export const print = (text: string): void => void process.stdout.write(`${text}\n`)

/** True if what goes to stdout may be coloured. */
export const coloured = (): boolean =>
  process.env['FORCE_COLOR'] !== undefined ? process.env['FORCE_COLOR'] !== '0' : process.stdout.isTTY === true && process.env['NO_COLOR'] === undefined

export const number = (n: number): string => n.toLocaleString('en-US')

export function bytes(n: number): string {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB']
  let unit = 0
  while (n >= 1024 && unit < units.length - 1) {
    n /= 1024
    unit++
  }
  return `${unit === 0 ? n : n.toFixed(n < 10 ? 2 : 1)} ${units[unit]}`
}

export const plural = (n: number, noun: string): string =>
  `${number(n)} ${n === 1 ? noun : noun.endsWith('y') ? `${noun.slice(0, -1)}ies` : `${noun}s`}`
