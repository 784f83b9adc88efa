// The types of the package for programs that are CommonJS: Node.js loads it with `require`, and TypeScript wants to
// be told so. They are those of the module, not copies, so that both fit together. test/types.test.ts compares the
// names.
import type * as mmapdb from '../dist/src/index.js' with { 'resolution-mode': 'import' }

export type {
  AsyncRangeIterator,
  AsyncRangeOptions,
  BackupReport,
  BatchOperation,
  Change,
  ChangeFeed,
  ChangeOptions,
  Bound,
  CheckpointReport,
  CompactReport,
  Conditions,
  Damage,
  DamageSite,
  DumpOptions,
  Entry,
  Expiry,
  Key,
  KeyPart,
  KeyWatch,
  LoadReport,
  LockInfo,
  LockOptions,
  LongWorkOptions,
  MmapdbErrorCode,
  OpenOptions,
  Progress,
  PutOptions,
  Range,
  RangeIterator,
  RecoveryReport,
  RetainOptions,
  RestoreOptions,
  RestoreReport,
  Stats,
  StoreOptions,
  Stored,
  ToldChange,
  TransactionIterator,
  TransactionOptions,
  TryLockOptions,
  UpdateOptions,
  ValueEncoding,
  ValueOf,
  ValueSite,
  VerifyReport,
  Watched,
  WatchOptions,
} from '../dist/src/index.js' with { 'resolution-mode': 'import' }

export declare const open: typeof mmapdb.open
export declare const restore: typeof mmapdb.restore
export declare const dump: typeof mmapdb.dump
export declare const load: typeof mmapdb.load
export declare const compact: typeof mmapdb.compact
export declare const EXIT_CODES: typeof mmapdb.EXIT_CODES
export declare const Database: typeof mmapdb.Database
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Database<V = any, K extends mmapdb.Key = mmapdb.Key> = mmapdb.Database<V, K>
export declare const Snapshot: typeof mmapdb.Snapshot
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Snapshot<V = any, K extends mmapdb.Key = mmapdb.Key> = mmapdb.Snapshot<V, K>

export declare const Store: typeof mmapdb.Store
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Store<V = any, K extends mmapdb.Key = mmapdb.Key> = mmapdb.Store<V, K>

export declare const Transaction: typeof mmapdb.Transaction
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Transaction<V = any, K extends mmapdb.Key = mmapdb.Key> = mmapdb.Transaction<V, K>

export declare const RecordLock: typeof mmapdb.RecordLock
export type RecordLock = mmapdb.RecordLock

export declare const ClosedError: typeof mmapdb.ClosedError
export type ClosedError = mmapdb.ClosedError
export declare const ConflictError: typeof mmapdb.ConflictError
export type ConflictError = mmapdb.ConflictError
export declare const CorruptError: typeof mmapdb.CorruptError
export type CorruptError = mmapdb.CorruptError
export declare const EncodingError: typeof mmapdb.EncodingError
export type EncodingError = mmapdb.EncodingError
export declare const ExistsError: typeof mmapdb.ExistsError
export type ExistsError = mmapdb.ExistsError
export declare const ExpiredError: typeof mmapdb.ExpiredError
export type ExpiredError = mmapdb.ExpiredError
export declare const FullError: typeof mmapdb.FullError
export type FullError = mmapdb.FullError
export declare const InvalidError: typeof mmapdb.InvalidError
export type InvalidError = mmapdb.InvalidError
export declare const IoError: typeof mmapdb.IoError
export type IoError = mmapdb.IoError
export declare const LockedError: typeof mmapdb.LockedError
export type LockedError = mmapdb.LockedError
export declare const LsnGoneError: typeof mmapdb.LsnGoneError
export type LsnGoneError = mmapdb.LsnGoneError
export declare const MmapdbError: typeof mmapdb.MmapdbError
export type MmapdbError = mmapdb.MmapdbError
export declare const NotADatabaseError: typeof mmapdb.NotADatabaseError
export type NotADatabaseError = mmapdb.NotADatabaseError
export declare const NotFoundError: typeof mmapdb.NotFoundError
export type NotFoundError = mmapdb.NotFoundError
export declare const OutcomeUnknownError: typeof mmapdb.OutcomeUnknownError
export type OutcomeUnknownError = mmapdb.OutcomeUnknownError
export declare const PermissionError: typeof mmapdb.PermissionError
export type PermissionError = mmapdb.PermissionError
export declare const ReadOnlyError: typeof mmapdb.ReadOnlyError
export type ReadOnlyError = mmapdb.ReadOnlyError
export declare const StoreDroppedError: typeof mmapdb.StoreDroppedError
export type StoreDroppedError = mmapdb.StoreDroppedError
export declare const TooManyReadersError: typeof mmapdb.TooManyReadersError
export type TooManyReadersError = mmapdb.TooManyReadersError
export declare const UnsupportedError: typeof mmapdb.UnsupportedError
export type UnsupportedError = mmapdb.UnsupportedError
export declare const VersionError: typeof mmapdb.VersionError
export type VersionError = mmapdb.VersionError
