// Opening a database.
import type { ValueEncoding } from '../encoding/values/codec.js'
import { resolveOptions, type OpenOptions } from '../engine/options.js'
import { foreseen } from '../errors.js'
import { attach } from '../workers/attach.js'
import { Database } from './database.js'
import type { ValueOf } from './types.js'

/**
 * Opens the database in the directory `path`, creates it if it is missing, and repairs what a crash left
 * behind. Any number of threads and processes may have it open at once. A relative path is taken from the working
 * directory of the process.
 *
 * The type of the values can be given: `const db: Database<Session> = await open('./my.db')`.
 *
 * Rejects with `InvalidError` (options), `NotFoundError`, `NotADatabaseError`, `VersionError`,
 * `CorruptError`, `PermissionError`, `ReadOnlyError`, `UnsupportedError` (network file system),
 * `LockedError` (another process takes longer than `timeoutMs` to open or recover it), `FullError`,
 * `IoError`. Existing data has not been changed then. A creation that was cut short takes no room, and the next
 * opener starts it again.
 */
export async function open<const E extends ValueEncoding | undefined = undefined, V = ValueOf<E>>(
  path: string,
  options: OpenOptions & { valueEncoding?: E } = {},
): Promise<Database<V>> {
  const resolved = resolveOptions(path, options)
  try {
    const { attachment, recovery } = await attach(resolved)
    return new Database<V>(attachment, resolved, recovery)
  } catch (error) {
    throw foreseen(error)
  }
}
