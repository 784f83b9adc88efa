// The public interface of mmapdb. Everything else is internal.
export { open, Database, Snapshot, type Stored, type ValueOf } from './workers/database.js'
export type { OpenOptions } from './engine/options.js'
export type { Key, KeyPart } from './engine/keys.js'
export type { Range } from './engine/range.js'
export type { BatchOperation } from './engine/batch.js'
export type { Stats } from './engine/engine.js'
export type { CheckpointReport } from './engine/checkpoint.js'
export type { RecoveryReport } from './engine/recovery.js'
export type { Entry } from './engine/snapshot.js'
export type { Damage, VerifyReport } from './engine/verify.js'
export type { ValueEncoding } from './engine/values.js'
export {
  MmapdbError,
  ClosedError,
  CorruptError,
  EncodingError,
  ExpiredError,
  FullError,
  InvalidError,
  IoError,
  LockedError,
  NotADatabaseError,
  NotFoundError,
  OutcomeUnknownError,
  PermissionError,
  ReadersError,
  ReadOnlyError,
  UnsupportedError,
  VersionError,
  EXIT_CODES,
  type DamageSite,
  type MmapdbErrorCode,
  type ValueSite,
} from './errors.js'
