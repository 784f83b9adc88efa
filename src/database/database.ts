// The public Database: the default store of an open database, and what concerns the whole of it.
import type { CheckpointReport } from '../engine/checkpoint/checkpointer.js'
import type { Key } from '../encoding/keys.js'
import type { RecoveryReport } from '../engine/lifecycle/recovery.js'
import type { LockInfo } from '../engine/locks/lock-list.js'
import type { ResolvedOptions } from '../engine/options.js'
import type { Stats } from '../engine/stats.js'
import { backup } from '../maintenance/backup.js'
import type { BackupReport } from '../maintenance/reports.js'
import { verify, type VerifyReport } from '../maintenance/verify.js'
import type { Attachment } from '../workers/attachment.js'
import { doneHere, doneThere, resultOf } from '../workers/long-work.js'
import type { LongWorkOptions } from './long-work-options.js'
import { pathOption, readOptions } from './read-options.js'
import { mustBeFunction, type TransactionOptions } from './change-options.js'
import type { ChangeFeed } from './change-feed.js'
import type { ChangeOptions } from './change-feeds.js'
import { OpenDatabase } from './open-database.js'
import { transact } from './run-transaction.js'
import { Transaction } from './transaction.js'
import { Snapshot } from './snapshot.js'
import { Store } from './store.js'
import { valueEncodingOf, type StoreOptions } from './store-options.js'
import type { Anything } from './types.js'

/**
 * An open database. See `open`. It reads and writes its default store; further ones: `store`. `V`: the type of its
 * values; `K`: that of its keys.
 */
export class Database<V = Anything, K extends Key = Key> extends Store<V, K> {
  readonly #open: OpenDatabase
  /** What opening had to repair; undefined if another process or thread had the database open already. */
  readonly recovery: RecoveryReport | undefined

  private constructor(open: OpenDatabase, recovery: RecoveryReport | undefined) {
    super(open, open.engine.main)
    this.#open = open
    this.recovery = recovery
  }

  /** @internal Use `open`. */
  static of<V, K extends Key>(
    attachment: Attachment,
    options: ResolvedOptions,
    recovery: RecoveryReport | undefined,
  ): Database<V, K> {
    return new Database(new OpenDatabase(attachment, options), recovery)
  }

  /** The directory of the database. */
  get path(): string {
    return this.#open.options.path
  }
  /** False once `close` has been called. */
  get isOpen(): boolean {
    return this.#open.isOpen
  }

  // ---- transactions ----------------------------------------------------------------------------

  /**
   * Runs `act` with a transaction that reads and writes any keys: `await db.transaction((tx) => { ... })`. What it has
   * written takes effect all at once when `act` has returned, and only if nothing of what it has read has been changed
   * by others meanwhile, ranges included. Otherwise `act` is run again. So transactions are serializable: they come to
   * what they would if one had run after the other. Resolves to what `act` returned, once all is on disk and visible.
   *
   * `act` may be run several times: it should do nothing but read and write `tx`, and compute. It may be
   * async; while it runs, the moment that it reads is held, so it should not wait for long. If it throws, nothing is
   * written, and the promise rejects with that. Calls of `tx` after its end, `transaction` and `update` of the same
   * database within it are refused with `InvalidError`; other writes of the database take effect at once, whatever
   * becomes of the transaction.
   *
   * A transaction reads at most 100,000 keys and entries of ranges, makes at most 100,000 changes, and writes at most
   * 64 MiB. Rejects with `ConflictError` if it met others each time that it was tried (`retries`, `timeoutMs`), with
   * `LockedError` if `act` took longer than `timeoutMs`, with the reason of `signal`, and as `put` does. Nothing was
   * written then, `OutcomeUnknownError` excepted.
   */
  async transaction<T>(act: (tx: Transaction<V, K>) => T | PromiseLike<T>, options?: TransactionOptions): Promise<T> {
    mustBeFunction(act, 'transaction')
    const { engine, host } = this.#open
    return transact(host, (tries) => act(Transaction.of<V, K>(tries, engine.main, engine.stores)), options)
  }

  // ---- following -------------------------------------------------------------------------------

  /**
   * What takes effect in the database, in the order of the log, whichever thread or process writes it:
   * `for await (const change of db.changes({ since, prefix, signal }))`. Each operation of a batch is a change of its
   * own. A write whose condition did not hold is none, and neither is a `del` that found nothing; an `add` is a put of
   * the sum. `clear` and `dropStore` are one change each. A change is told once it is visible and on disk.
   *
   * Those of a store with types of its own: `db.changes<Order, number>({ store: 'orders' })`.
   *
   * `since` says where to begin: a `cursor` that was kept, to go on where an earlier feed was, or an LSN. Without it
   * the feed begins with what becomes visible after this call, whenever the first change is asked for. How far back one
   * can go is up to `retain` of `open`: `next` rejects with `LsnGoneError`, which names the oldest LSN, if the log does
   * not go back that far, also if it was recycled while this feed was too slow. A feed holds nothing back and costs
   * writers nothing beyond that.
   *
   * `next` rejects with `EncodingError` for a value that cannot be decoded (called again, it goes on after that
   * change), with the reason of `signal`, with `ClosedError` once the database is closed, `CorruptError`, `IoError`.
   * Throws `InvalidError` for an option that is not acceptable, for a cursor of another database, and for `since` ahead
   * of the log; `ReadOnlyError` for a reader that sees the database as it was when it was opened. While a call of
   * `next` waits, it keeps the process alive. It holds the event loop for some 4 ms at a time, or for as long as it
   * takes to read one larger batch.
   */
  changes(options?: ChangeOptions<K>): ChangeFeed<V, K>
  changes<W, L extends Key = Key>(options: ChangeOptions<L> & { store: string }): ChangeFeed<W, L>
  changes(options?: ChangeOptions): ChangeFeed {
    return this.#open.feeds.changes(options, this.#open) as never
  }

  // ---- stores ----------------------------------------------------------------------------------

  /**
   * A store of that name: keys and values of its own, beside those of the Database and of other stores, and in one file
   * and log with them. It is created if it is not there, durably, before this returns. `valueEncoding`: how its values
   * are encoded; undefined: as it was chosen when the store was created, and for a new store as those of the database.
   *
   * `name`: 1 to 255 bytes of UTF-8. Throws `InvalidError` for another name, and for another encoding than the store
   * has; `NotFoundError` if there is no such store and the database was opened to be read only; and what `put` rejects
   * with.
   */
  store<V2 = Anything, K2 extends Key = Key>(name: string, options?: StoreOptions): Store<V2, K2> {
    this.#open.assertOpen()
    const valueEncoding = valueEncodingOf(options)
    this.#open.assertOpen()
    const { stores } = this.#open.engine
    return new Store(this.#open, stores.open(name, valueEncoding))
  }

  /** The names of all stores, in the order of their bytes. The default store has none. */
  stores(): string[] {
    this.#open.assertOpen()
    return this.#open.engine.stores.list().map(({ name }) => name)
  }

  /**
   * Drops a store with all that it holds, in one write: at once gone for every reader, however much it holds. Its room
   * is freed in the background. Resolves to whether there was such a store. Writes to it are refused from then on, with
   * `StoreDroppedError`, also in other processes; a store that is created under the name later is another one. Rejects
   * as `put` does.
   */
  async dropStore(name: string): Promise<boolean> {
    for (;;) {
      this.#open.assertOpen()
      let isThere = false
      const { stores } = this.#open.engine
      const took = await this.#open.write(
        (_, frame) => (isThere = stores.drop(frame, name)),
        ({ took }) => took,
      )
      if (!isThere) return false
      if (!took) continue
      this.#open.emptyTrash()
      return true
    }
  }

  /** The database as it is now, until the snapshot is closed. Slots that it reaches are not reused meanwhile. */
  snapshot(): Snapshot<V, K> {
    const { engine, reads } = this.#open
    return Snapshot.of(engine.snapshot(), engine.main, { engine, reads, owner: this.#open })
  }

  /**
   * The record locks that threads and processes have and wait for, as of now, in the order of their keys, those of
   * named stores first; of one key those that are held first, and then those that wait, in their turn. Costs one step
   * for each of them.
   */
  locks(): LockInfo[] {
    this.#open.assertOpen()
    return this.#open.engine.listLocks()
  }

  // ---- the rest --------------------------------------------------------------------------------

  /** Writes everything to the data file and flushes it, so that the log before it is no longer needed. */
  async checkpoint(): Promise<CheckpointReport | undefined> {
    this.#open.assertOpen()
    return this.#open.track(
      this.#open.lanes?.long.run('checkpoint', { wait: true }, [], true) ??
        soon(() => this.#open.engine.checkpoint(true)),
    )
  }

  /** Checks every slot and value that a read could meet. Damage is reported, not thrown. */
  async verify(): Promise<VerifyReport> {
    this.#open.assertOpen()
    return this.#open.track(this.#open.lanes?.long.run<VerifyReport>('check') ?? soon(() => verify(this.#open.engine)))
  }

  /**
   * Makes a backup: a database of its own, in a new directory at `path`, with the same entries and versions as of one
   * moment, compacted. Others go on reading and writing meanwhile; a worker copies, and rests while they write. The
   * copy is read back, and has its name only when all of it is on disk: so `path` is whole or absent. Until then it
   * is made in `path` + ".unfinished", which the next backup to that path removes if a crash leaves it.
   *
   * Slots that the moment reaches are not reused until they are copied. `close` waits for a backup under way;
   * `signal` ends it. One backup of an open database is made at a time, others wait for up to `timeoutMs`. With
   * `workers: 0` this thread copies, and the event loop runs in between.
   *
   * Rejects with `ExistsError` if there is something at `path`, the reason of `signal`, `FullError`, `NotFoundError`,
   * `PermissionError`, `LockedError` (another backup to that path), `CorruptError` (damage of the database, or of the
   * copy), `ExpiredError` (`maxHeldBytes` of a writer), `IoError`, `InvalidError`, `ClosedError`. Nothing is left
   * then.
   */
  async backup(path: string, options?: LongWorkOptions): Promise<BackupReport> {
    this.#open.assertOpen()
    const target = pathOption(path, 'a backup')
    const { onProgress, signal } = readOptions(options, [])
    this.#open.assertOpen()
    const { lanes, engine } = this.#open
    const work = { onProgress, signal }
    const done = lanes
      ? doneThere<BackupReport>(lanes.copies, 'backup', { target }, work)
      : doneHere(backup(engine, target), work, () => engine.tailLsn)
    return resultOf(await this.#open.track(done))
  }

  /** Figures on the database, as of now. */
  stats(): Stats {
    return this.#open.engine.stats()
  }

  /**
   * Waits for all work under way and closes the database. The last closer of all threads and
   * processes makes a checkpoint and cuts the file back to the part that is used. Snapshots and iterators
   * end, record locks are released, and calls that wait for one reject with `ClosedError`, as do updates and
   * transactions whose functions have not returned. Idempotent.
   */
  close(): Promise<void> {
    return this.#open.close()
  }

  /** `close`, for `await using`. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close()
  }
}

const soon = async <T>(act: () => T): Promise<T> => act()
