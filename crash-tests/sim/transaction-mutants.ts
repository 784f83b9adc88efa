// Safeguards of updates and transactions, each with the test that must find a version without it wrong. (The simulation
// sees some of them, too: mutants.ts.)
import { one, type TestedMutant } from './tested-mutant.js'

const CONFLICTS = 'database/transaction-conflicts'
const TRANSACTIONS = 'database/transactions'
const UPDATES = 'database/updates'

export const TRANSACTION_MUTANTS: readonly TestedMutant[] = [
  one(
    'an update does not hold the lock of its record',
    ['database/updates', 'take turns where they are of one key'],
    'database/update.js',
    "mode: 'exclusive'",
    "mode: 'shared'",
  ),
  one(
    'an update overwrites what others wrote without the lock',
    ['database/updates', 'run again where others write without the lock'],
    'database/update.js',
    'const conditions = conditionsOf(entry?.version ?? 0, undefined, undefined);',
    'const conditions = conditionsOf(undefined, undefined, undefined);',
  ),
  one(
    'an update whose function throws keeps the lock',
    ['database/updates', 'change nothing where the function throws'],
    'database/update.js',
    'recordLocks.release(grant);',
    '',
  ),
  one(
    'an update goes on for ever where others always write',
    ['database/updates', 'run again where others write without the lock'],
    'database/update.js',
    'if (deadline.isOver)',
    'if (false)',
  ),
  one(
    'a transaction reads the newest moment each time',
    [CONFLICTS, 'read skew'],
    'engine/engine.js',
    'new EngineTransaction(this.snapshot(), this.parts.openState, this.parts.clock)',
    'new EngineTransaction({ lsn: this.snapshot().lsn, findEncoded: (...args) => this.snapshot().findEncoded(...args), rangeWithin: (...args) => this.snapshot().rangeWithin(...args), close() {} }, this.parts.openState, this.parts.clock)',
  ),
  one(
    'a transaction does not check what it has read and not written',
    [CONFLICTS, 'write skew: what it has read'],
    'engine/transactions/noted-reads.js',
    'frame.check(noted.key, noted.key.length, conditionsFor(noted));',
    ';',
  ),
  one(
    'a transaction does not check the ranges that it has read',
    [CONFLICTS, 'phantoms: a range that it has read gets no entry more'],
    'engine/commit/decide.js',
    'if (kind === OP_CHECK_RANGE && !this.#ranges.isUnchanged(operation, this.#nowMs))',
    'if (false)',
  ),
  one(
    'a transaction does not check what it overwrites',
    [CONFLICTS, 'lost updates'],
    'engine/transactions/noted-reads.js',
    'return noted === undefined ? UNCONDITIONAL : conditionsFor(noted);',
    'return UNCONDITIONAL;',
  ),
  one(
    'a transaction that is given up writes all the same',
    [CONFLICTS, 'dirty reads'],
    'database/run-transaction.js',
    'if (!isInstance(error, ExpiredError))\n                throw error;',
    'if (!isInstance(error, ExpiredError)) { await host.write((frame) => transaction.writeTo(frame)); throw error; }',
  ),
  one(
    'what a range of a transaction has not returned counts as read',
    [CONFLICTS, 'with what they have not read'],
    'engine/transactions/noted-reads.js',
    'if (this.#isWhole)',
    'if (this.#last !== undefined || this.#isWhole)',
  ),
  one(
    'transactions within one another are let through',
    [TRANSACTIONS, 'refuse what is no part of them'],
    'database/run-transaction.js',
    'if (each.host === host && !each.isOver)',
    'if (false)',
  ),
  one(
    'a transaction that has ended can be used',
    [TRANSACTIONS, 'refuse what is no part of them'],
    'engine/transactions/engine-transaction.js',
    'if (this.#isOver)',
    'if (false)',
  ),
  one(
    'a transaction runs for as long as it likes',
    [TRANSACTIONS, 'end when their time is over'],
    'database/change-host.js',
    'setTimeout(() => end(() => reject(tooSlow(deadline.timeoutMs))), deadline.leftMs)',
    'undefined',
  ),
  one(
    'the function of an update is waited for after its signal',
    [UPDATES, 'end with the reason of a signal'],
    'database/update.js',
    'await host.outcomeOf(change(entry?.value, entry), { signal })',
    'await change(entry?.value, entry)',
  ),
  one(
    'closing leaves those alone that wait for a function',
    [UPDATES, 'end when the database is closed'],
    'database/open-database.js',
    'this.host.stopWaiting();',
    ';',
  ),
  one(
    'a transaction keeps the locks of its tries',
    [TRANSACTIONS, 'give up after that many conflicts'],
    'database/transaction-locks.js',
    'this.#locks.release(grant);',
    ';',
  ),
  one(
    'a transaction waits for the locks that users hold',
    [TRANSACTIONS, 'go on where others hold the locks of their keys'],
    'engine/locks/transaction-names.js',
    'Buffer.concat([PREFIX, treeKey])',
    'treeKey',
  ),
  one(
    'a transaction commits although another is about to change what it has read',
    [CONFLICTS, 'take turns where they change the same key'],
    'database/run-transaction.js',
    'if (!this.#locks.tryAcquire(transaction.changedKeys()) && !isLast)',
    'if (false)',
  ),
  one(
    'a transaction waits for ever for one that stands still',
    [TRANSACTIONS, 'go on without one that does not end'],
    'database/transaction-locks.js',
    'Math.min(MAX_WAIT_MS, this.#deadline.leftMs)',
    'this.#deadline.leftMs',
  ),
  one(
    'a transaction reads without limit',
    [TRANSACTIONS, 'are limited in what they read and write'],
    'engine/transactions/noted-reads.js',
    'if (this.#count >= MAX_TRANSACTION_READS)',
    'if (false)',
  ),
  one(
    'a range of a transaction that cannot be read any further passes for one that has ended',
    ['engine/transactions/merged-range', 'do not end where the snapshot cannot be read'],
    'engine/transactions/merged-range.js',
    'if (this.#failure !== undefined)',
    'if (false)',
  ),
  one(
    'slots are set aside for what only checks',
    ['engine/commit/slot-budget', 'are none for what only checks'],
    'engine/commit/frame-needs.js',
    'changes: operations - checks',
    'changes: operations',
  ),
]
