// One pass over the input of a load: each record with its key, and each bad record with the reason why it
// cannot be loaded.
import { InvalidError } from '../../errors.js'
import type { Key } from '../../encoding/keys.js'
import { readItems } from './input.js'
import type { Good } from './item.js'
import type { JobContext } from './job.js'
import { startProgress } from './progress.js'
import type { Source } from './source.js'

/** Takes a record. Throws `InvalidError` if it cannot be stored. A promise holds up the reading. */
export type Take = (key: Key, value: unknown) => Promise<void> | undefined
/** Told of a bad record. False ends the pass; after a `final` one nothing can be read anyway. */
export type OnBad = (why: string, final: boolean) => boolean

/** Reads the input from its beginning. Ends early, without an error, when the load is interrupted. */
export async function passOver(
  { options, silent, signal }: JobContext,
  input: Source,
  what: string,
  take: Take,
  onBad: OnBad,
): Promise<void> {
  const finder = new KeyFinder(options.keyField)
  let bytesRead = 0
  let records = 0
  let isDone = false
  const progress = startProgress(what, input.sizeBytes, () => ({ done: bytesRead, operations: records }), silent)
  const chunks = input.open((bytes) => (bytesRead += bytes))
  try {
    for await (const items of readItems(chunks, input.format, options.bigIntegers)) {
      for (const item of items) {
        const why = 'why' in item ? item.why : await taken(finder, item, take)
        if (why === undefined) records++
        else if (!onBad(why, 'why' in item && item.final === true)) return
      }
      if (signal.aborted) return
    }
    isDone = true
  } catch (error) {
    if (!signal.aborted) throw error
  } finally {
    progress.stop(isDone)
  }
}

/** Hands on a record with its key. Returns the reason why it cannot be loaded, if there is one. */
async function taken(finder: KeyFinder, item: Good, take: Take): Promise<string | undefined> {
  const found = finder.find(item.value, item.number)
  if ('why' in found) return `line ${item.line}: ${found.why}`
  try {
    const waiting = take(found.key, item.value)
    if (waiting) await waiting
    return undefined
  } catch (error) {
    if (error instanceof InvalidError) return `line ${item.line}: ${error.message.replace(/\.$/, '')}`
    throw error
  }
}

/** Finds the key of each record. The first record settles which field it is in. */
class KeyFinder {
  #field: string | undefined
  #settled: boolean

  constructor(field: string | undefined) {
    this.#field = field
    this.#settled = field !== undefined
  }

  /** The key, or why there is none. */
  find(value: unknown, recordNumber: number): { key: Key } | { why: string } {
    if (!this.#settled) {
      this.#settled = true
      this.#field = ['id', 'key'].find((name) => fieldOf(value, name) !== undefined)
    }
    if (this.#field === undefined) return { key: recordNumber }
    const key = fieldOf(value, this.#field)
    if (key === undefined) return { why: `it has no field "${this.#field}" for its key` }
    return { key: key as Key }
  }
}

/** A field by name; if there is no field of that name, by path. */
function fieldOf(value: unknown, path: string): unknown {
  const own = (x: unknown, name: string): unknown =>
    typeof x === 'object' && x !== null && Object.hasOwn(x, name) ? (x as Record<string, unknown>)[name] : undefined
  const direct = own(value, path)
  return direct !== undefined || !path.includes('.') ? direct : path.split('.').reduce(own, value)
}
