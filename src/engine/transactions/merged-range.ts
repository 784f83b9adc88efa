// A range as a transaction sees it: the entries of its snapshot, with what it has written itself laid over them, as of
// the moment at which the range was begun. Both are in the order of their keys, so it goes through both at once.
// It notes how far it has looked (noted-reads.ts): where it is left early, nothing after that can conflict.
import type { EncodedEntry, RangeIterator } from '../read/range-iterator.js'
import type { NotedRange } from './noted-reads.js'
import type { OwnWrite } from './own-writes.js'

/** One entry, encoded. `value` is undefined if only keys are read. */
export interface MergedEntry {
  readonly key: Buffer
  readonly value: Buffer | undefined
}

interface MergedSource {
  readonly entries: RangeIterator<EncodedEntry>
  /** Of the same range, in its order. */
  readonly own: readonly OwnWrite[]
  readonly noted: NotedRange
  readonly reverse: boolean
  readonly limit: number
  readonly isOfKeys: boolean
  /** The value that an entry has after an add of the transaction; `before` is undefined if there is none. */
  readonly sum: (write: OwnWrite & { kind: 'add' }, before: Buffer | undefined) => Buffer
}

export class MergedRange {
  readonly #source: MergedSource
  #next = 0
  #left: number
  /** The next entry of the snapshot; undefined if it has not been read yet. */
  #peeked: MergedEntry | 'none' | undefined
  /** The snapshot cannot be read any further: this is not its end. */
  #failure: { readonly error: unknown } | undefined

  constructor(source: MergedSource) {
    this.#source = source
    this.#left = source.limit
  }

  /** The next entry; undefined at the end. If it throws, the next call goes on after what it threw for. */
  next(): MergedEntry | undefined {
    const { own, noted, reverse } = this.#source
    while (this.#left > 0) {
      const entry = this.#peek()
      const write = own[this.#next]
      if (entry === undefined && write === undefined) {
        noted.noteEnd()
        break
      }
      const order =
        entry === undefined ? 1 : write === undefined ? -1 : entry.key.compare(write.key) * (reverse ? -1 : 1)
      if (entry !== undefined && order <= 0) this.#take(entry)
      if (order < 0) {
        this.#left--
        return entry
      }
      this.#next++
      if (order > 0) noted.noteGap(write!.key)
      if (write!.kind === 'del') continue
      this.#left--
      return { key: write!.key, value: this.#valueOf(write!, order === 0 ? entry : undefined) }
    }
    this.close()
    return undefined
  }

  #valueOf(write: OwnWrite, entry: MergedEntry | undefined): Buffer | undefined {
    const { isOfKeys, sum } = this.#source
    if (isOfKeys || write.kind === 'del') return undefined
    return write.kind === 'put' ? write.value : sum(write, entry?.value)
  }

  #peek(): MergedEntry | undefined {
    this.#peeked ??= this.#read()
    return this.#peeked === 'none' ? undefined : this.#peeked
  }

  #read(): MergedEntry | 'none' {
    if (this.#failure !== undefined) throw this.#failure.error
    try {
      const { done, value: entry } = this.#source.entries.next()
      if (done) return 'none'
      // What it gives may change with the next entry, of whatever range.
      return { key: Buffer.from(entry.key), value: entry.value && Buffer.from(entry.value) }
    } catch (error) {
      this.#failure = { error }
      throw error
    }
  }

  #take({ key }: MergedEntry): void {
    this.#source.noted.noteEntry(key)
    this.#peeked = undefined
  }

  close(): void {
    this.#left = 0
    this.#source.entries.return()
  }
}
