// Opening a database.
import type { Key } from '../encoding/keys.js'
import type { ValueEncoding } from '../encoding/values/codec.js'
import { resolveOptions, type OpenOptions } from '../engine/options.js'
import { foreseen, MmapdbError } from '../errors.js'
import { keepLog } from '../engine/lifecycle/keep-log.js'
import type { Retention } from '../wal/retention.js'
import { attach } from '../workers/attach.js'
import type { Attachment } from '../workers/attachment.js'
import { Database } from './database.js'
import type { Anything, ValueOf } from './types.js'

/**
 * Opens the database in the directory `path`, creates it if it is missing, and repairs what a crash left
 * behind. Any number of threads and processes may have it open at once. A relative path is taken from the working
 * directory of the process.
 *
 * The types of values and keys can be given: `open<Session>('./my.db')`, `open<Session, string>('./my.db')`. If none
 * is given, values are strings with `{ valueEncoding: 'utf8' }`, Buffers with `'binary'`, and else `any`.
 *
 * Rejects with `InvalidError` (options), `NotFoundError`, `ExistsError` (`errorIfExists`), `NotADatabaseError`,
 * `VersionError`, `CorruptError`, `PermissionError`, `ReadOnlyError`, `UnsupportedError` (network file system),
 * `LockedError` (another process takes longer than `timeoutMs` to open or recover it), `FullError`,
 * `IoError`. Existing data has not been changed then. A creation that was cut short takes no room, and the next
 * opener starts it again.
 */
export function open<const E extends ValueEncoding, V = ValueOf<E>, K extends Key = Key>(
  path: string,
  options: OpenOptions & { valueEncoding: E },
): Promise<Database<V, K>>
export function open<V = Anything, K extends Key = Key>(path: string, options?: OpenOptions): Promise<Database<V, K>>
export async function open<V, K extends Key>(path: string, options: OpenOptions = {}): Promise<Database<V, K>> {
  const resolved = resolveOptions(path, options)
  try {
    const { attachment, recovery } = await attach(resolved)
    const db = Database.of<V, K>(attachment, resolved, recovery)
    await keepMore(attachment, db, resolved.retain)
    return db
  } catch (error) {
    throw foreseen(error)
  }
}

/** Has the database store how much of the log is to be kept, if that is something new. */
async function keepMore({ engine }: Attachment, db: Database, retain: Retention | undefined): Promise<void> {
  try {
    if (retain !== undefined && keepLog(engine.parts, retain)) await db.checkpoint()
  } catch (error) {
    // It holds all the same while the database is open, and writers meet the reason themselves.
    if (!(error instanceof MmapdbError)) throw error
  }
}
