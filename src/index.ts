// The public interface of mmapdb. Everything else is internal.
export { Database } from './database/database.js'
export type { OpenOptions, RetainOptions } from './engine/options.js'
export type { Key, KeyPart } from './encoding/keys.js'
export type { BatchOperation } from './engine/commit/batch.js'
export type { Conditions, PutOptions } from './engine/commit/conditions.js'
export type { Expiry } from './engine/commit/expiry.js'
export type { Stats } from './engine/stats.js'
export type { CheckpointReport } from './engine/checkpoint/checkpointer.js'
export type { RecoveryReport } from './engine/lifecycle/recovery.js'
export type { Entry } from './engine/read/snapshot.js'
export type { Damage } from './engine/format/damage.js'
export { restore, type RestoreOptions } from './database/restore.js'
export { compact } from './database/compact.js'
export { dump, load, type DumpOptions, type LoadReport } from './database/dump.js'
export type { BackupReport, CompactReport, Progress, RestoreReport } from './maintenance/reports.js'
export type { LongWorkOptions } from './database/long-work-options.js'
export type { VerifyReport } from './maintenance/verify.js'
export type { ValueEncoding } from './encoding/values/codec.js'
export {
  MmapdbError,
  ClosedError,
  ConflictError,
  CorruptError,
  EncodingError,
  ExistsError,
  ExpiredError,
  FullError,
  InvalidError,
  IoError,
  LockedError,
  LsnGoneError,
  NotADatabaseError,
  NotFoundError,
  OutcomeUnknownError,
  PermissionError,
  TooManyReadersError,
  ReadOnlyError,
  StoreDroppedError,
  UnsupportedError,
  VersionError,
  EXIT_CODES,
  type DamageSite,
  type MmapdbErrorCode,
  type ValueSite,
} from './errors.js'
export type { Bound, Range } from './engine/read/bounds.js'
export type { AsyncRangeIterator, AsyncRangeOptions, RangeIterator, Stored, ValueOf } from './database/types.js'
export type { Change, ChangeFeed, ToldChange } from './database/change-feed.js'
export type { ChangeOptions, WatchOptions } from './database/change-feeds.js'
export type { KeyWatch, Watched } from './database/key-watch.js'
export { RecordLock, type LockOptions, type TryLockOptions } from './database/record-lock.js'
export type { LockInfo } from './engine/locks/lock-list.js'
export { Store } from './database/store.js'
export type { StoreOptions } from './database/store-options.js'
export type { TransactionOptions, UpdateOptions } from './database/change-options.js'
export { Transaction, type TransactionIterator } from './database/transaction.js'
export { Snapshot } from './database/snapshot.js'
export { open } from './database/open.js'
