// Writing to stdout and stderr: in pieces large enough to be cheap, waiting while the reader is slow. If the
// reader closes the pipe (`| head`), that is not an error. Output that cannot be written (a full disk) is
// an error with a message and an exit code like any other.
import { writeSync } from 'node:fs'
import { Ended, EXIT, OutputError } from './failure.js'

const PIECE_CHARACTERS = 64 * 1024

const ignore = (): void => undefined

/** Errors of the streams are handled where they are written to; without this Node.js would end the process. */
export function watchOutput(): void {
  for (const stream of [process.stdout, process.stderr])
    if (!stream.listeners('error').includes(ignore)) stream.on('error', ignore)
}

/**
 * Throws `OutputError` if output is already known to be impossible, before the command does anything that it could
 * not report. A file on a full disk accepts a write of zero bytes, and is detected later.
 */
export function checkOutput(): void {
  try {
    writeSync(1, '')
  } catch (cause) {
    const { code, message } = cause as NodeJS.ErrnoException
    if (code === 'ENOSPC' || code === 'EIO')
      throw new OutputError(`The output cannot be written: ${message}. Nothing was done.`, { cause })
  }
}

/** Resolves when the text is written: true, or false if the reader has closed the pipe. Throws `OutputError`. */
function put(text: string | Uint8Array): Promise<boolean> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (!error) resolve(true)
      else if ((error as NodeJS.ErrnoException).code === 'EPIPE') resolve(false)
      else
        reject(
          new OutputError(
            `The output cannot be written: ${error.message}. What the command stored or removed stays stored or removed.`,
            { cause: error },
          ),
        )
    })
  })
}

/** Lines on their way to stdout. `await write(...)` whenever it returns a promise; `flush` at the end. */
export class Lines {
  #pending = ''

  /** Adds a line. Resolves at once unless the reader is slow; ends the command if the reader has closed the pipe. */
  write(line: string): Promise<void> | undefined {
    this.#pending += `${line}\n`
    return this.#pending.length >= PIECE_CHARACTERS ? this.flush() : undefined
  }

  async flush(): Promise<void> {
    const text = this.#pending
    this.#pending = ''
    if (text !== '' && !(await put(text))) throw new Ended(EXIT.DONE)
  }
}

/** Writes a result and a line break. Resolves when it is written. */
export const print = async (text: string): Promise<void> => void (await put(`${text}\n`))

/** Writes a line. Resolves when it is written; ends the command if the reader has closed the pipe. */
export async function printLine(line: string): Promise<void> {
  if (!(await put(`${line}\n`))) throw new Ended(EXIT.DONE)
}

/** Writes bytes as they are. */
export const printBytes = async (bytes: Uint8Array): Promise<void> => void (await put(bytes))

/** Writes a line to stderr: it is not part of the result. If it cannot be written, the command goes on. */
export const tell = (line: string): void => void process.stderr.write(`${line}\n`)

/** True if what goes to stdout may be coloured. */
export const coloured = (): boolean => {
  const { FORCE_COLOR, NO_COLOR, TERM } = process.env
  if (FORCE_COLOR !== undefined) return FORCE_COLOR !== '0'
  return process.stdout.isTTY === true && !NO_COLOR && TERM !== 'dumb'
}

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

/** A time in milliseconds since 1970, if a Date can have it. */
export const dateText = (ms: number): string => (Math.abs(ms) <= 8.64e15 ? new Date(ms).toISOString() : String(ms))
