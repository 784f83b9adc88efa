// Reading the options of what takes long, and paths.
import { quoted, isInstance, reason } from '../describe.js'
import { InvalidError, MmapdbError } from '../errors.js'
import { absolutePath } from '../storage/absolute-path.js'
import type { LongWorkOptions } from './long-work-options.js'

const COMMON = ['onProgress', 'signal'] as const

/**
 * Reads each option once: it may be a getter. `names`: those that there are besides the common ones. Throws
 * `InvalidError`.
 */
export function readOptions<T extends LongWorkOptions>(
  options: T | undefined,
  names: readonly (keyof T & string)[],
): T {
  const known = [...names, ...COMMON]
  const read: Record<string, unknown> = {}
  if (options === undefined) return read as T
  if (typeof options !== 'object' || options === null) throw new InvalidError('Options must be an object.')
  try {
    const other = Object.keys(options).find((name) => !(known as string[]).includes(name))
    if (other !== undefined)
      throw new InvalidError(`There is no option "${other}". The options are: ${known.join(', ')}.`)
    for (const name of known) read[name] = options[name as keyof T]
  } catch (cause) {
    if (isInstance(cause, MmapdbError)) throw cause
    throw new InvalidError(`The options cannot be read: ${reason(cause)}`, { cause })
  }
  const { onProgress, signal } = read
  if (onProgress !== undefined && typeof onProgress !== 'function')
    throw new InvalidError(`onProgress must be a function, not ${quoted(onProgress)}.`)
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new InvalidError(`signal must be an AbortSignal, not ${quoted(signal)}.`)
  return read as T
}

/** A path as an absolute one. */
export function pathOption(path: unknown, what: string): string {
  if (typeof path !== 'string' || path === '' || path.includes('\0'))
    throw new InvalidError(`The path of ${what} must be a non-empty string without NUL characters.`)
  return absolutePath(path)
}
