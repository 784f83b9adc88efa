// Dumping a database as text, and loading such text, from a program. The lines are those of encoding/dump-lines.ts.
import type { Key } from '../encoding/keys.js'
import { DumpReader, DumpWriter, type DumpedEntry } from '../encoding/dump-lines.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { InvalidError } from '../errors.js'
import { Database } from './database.js'
import type { LongWorkOptions } from './long-work-options.js'
import { readOptions } from './read-options.js'
import type { Store } from './store.js'
import { Snapshot } from './snapshot.js'

/** Options of `dump`. */
export interface DumpOptions {
  /** Ends the dump: `next` rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}

/** What `load` has done. */
export interface LoadReport {
  /** Entries of the dump. All of them are in the database. */
  readonly entries: number
}

/**
 * The entries of one moment as lines of text without line breaks: every key and value of every store, whatever its
 * kind, and when they expire. `load` makes the same entries of them again, in any database with the same value
 * encoding. Versions are not part of a dump. The last line says that it is whole.
 *
 * `source`: a database, which is dumped as of the first call of `next`, or a snapshot. Of a snapshot of a named store
 * only that store is dumped, as the entries of a database. Rejects as `rangeAsync` does.
 */
export async function* dump<V, K extends Key>(
  source: Database<V, K> | Snapshot<V, K>,
  options?: DumpOptions,
): AsyncGenerator<string, void, undefined> {
  const { signal } = readOptions<DumpOptions & LongWorkOptions>(options, [])
  if (!(source instanceof Database || source instanceof Snapshot))
    throw new InvalidError('dump takes a database or a snapshot.')
  const snapshot = source instanceof Database ? source.snapshot() : source
  try {
    const writer = new DumpWriter({ valueEncoding: snapshot.valueEncoding, lsn: snapshot.lsn })
    yield writer.head()
    for await (const entry of snapshot.timedEntriesAsync({ signal })) yield* writer.entry(...entry)
    for (const name of snapshot.name === undefined ? snapshot.stores() : []) {
      const store = snapshot.store(name)
      yield writer.store({ name, valueEncoding: store.valueEncoding })
      for await (const entry of store.timedEntriesAsync({ signal })) yield* writer.entry(...entry)
    }
    yield writer.end()
  } finally {
    if (snapshot !== source) snapshot.close()
  }
}

/** Entries are put in batches of this many, or of lines with this many characters. */
const BATCH_ENTRIES = 1000
const BATCH_CHARACTERS = 4 * 1024 * 1024
/** That many batches are on their way at a time. */
const MOST_BATCHES = 4

/**
 * Puts the entries of a dump into a database: lines as `dump` gives them, without line breaks. Stores that are not
 * there are created. Entries that are there under other keys stay. If it ends before the last line, what was loaded
 * stays, and loading the same dump again makes it whole. `onProgress` is told the number of entries up to now, as
 * `done` and as `total`.
 *
 * Rejects with `InvalidError` for a line that cannot be read or stored (the message names it), or if the database
 * encodes values in another way than the dump; with `CorruptError` if the dump was cut short or changed; with
 * `VersionError`, the reason of `signal`, and what `put` rejects with.
 */
export async function load<V, K extends Key>(
  db: Database<V, K>,
  lines: Iterable<string> | AsyncIterable<string>,
  options?: LongWorkOptions,
): Promise<LoadReport> {
  if (!(db instanceof Database)) throw new InvalidError('load takes a database.')
  const { onProgress, signal } = readOptions(options, [])
  const reader = new DumpReader()
  const batches = new Batches(db as unknown as Database)
  let entries = 0
  let length = 0
  try {
    for await (const line of lines) {
      signal?.throwIfAborted()
      const entry = reader.take(line)
      length += line.length
      if (entry === undefined) {
        const { store, valueEncoding } = reader
        if (store !== undefined) batches.goOnIn(store.name, store.valueEncoding)
        else if (valueEncoding !== db.valueEncoding) throw otherEncoding(valueEncoding!, db.valueEncoding)
        continue
      }
      entries++
      const written = batches.add(entry, length)
      length = 0
      if (written === undefined) continue
      await written
      onProgress?.({ phase: 'replaying', done: entries, total: entries })
    }
    reader.finish()
  } finally {
    await batches.finish()
  }
  return { entries }
}

const otherEncoding = (theirs: string, ours: string): InvalidError =>
  new InvalidError(
    `The dump holds values with valueEncoding "${theirs}", and the database encodes them as "${ours}". Load it into a ` +
      `database that is created with valueEncoding "${theirs}".`,
  )

/** Entries on their way into a database, in order. */
class Batches {
  readonly #db: Database
  #store: Store
  #batch: ({ type: 'put' } & DumpedEntry)[] = []
  /** Characters of their lines. */
  #length = 0
  readonly #underWay: Promise<unknown>[] = []

  constructor(db: Database) {
    this.#db = db
    this.#store = db
  }

  /** What is added from here on is of that store. */
  goOnIn(name: string, valueEncoding: ValueEncoding): void {
    if (this.#store.name === name) return
    this.#send()
    this.#store = this.#db.store(name, { valueEncoding })
  }

  /** Undefined, or a promise to wait for before more is added. */
  add(entry: DumpedEntry, length: number): Promise<unknown> | undefined {
    this.#batch.push({ type: 'put', ...entry })
    this.#length += length
    if (this.#batch.length < BATCH_ENTRIES && this.#length < BATCH_CHARACTERS) return undefined
    this.#send()
    return this.#underWay.length < MOST_BATCHES ? undefined : this.#underWay.shift()
  }

  async finish(): Promise<void> {
    this.#send()
    const settled = await Promise.allSettled(this.#underWay.splice(0))
    const failed = settled.find((one) => one.status === 'rejected')
    if (failed !== undefined) throw failed.reason
  }

  #send(): void {
    if (this.#batch.length === 0) return
    const batch = this.#batch
    this.#batch = []
    this.#length = 0
    const written = this.#store.batch(batch)
    // It is waited for later; until then it must not count as unhandled.
    written.catch(() => undefined)
    this.#underWay.push(written)
  }
}
