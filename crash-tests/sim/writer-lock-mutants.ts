// Safeguards of the locks and turns of writers.
import { one, type TestedMutant } from './tested-mutant.js'

const SEEN = 'engine/shared/word-lock'

export const WRITER_LOCK_MUTANTS: readonly TestedMutant[] = [
  one(
    'a lock is taken over from a holder that is alive',
    [SEEN, 'is held by one at a time'],
    'engine/shared/seats.js',
    "return this.#locks === undefined || !this.#locks.isHeldByOther(LOCK.SEATS + seat, 'exclusive');",
    'return true;',
  ),
  one(
    'a lock is not taken over from a holder that is dead',
    [SEEN, 'is taken over from one that is dead'],
    'engine/shared/word-lock.js',
    'if (holder === 0 || !this.#seats.isDead(holder))',
    'if (true)',
  ),
  one(
    'a lock is taken over from one that holds it by then',
    [SEEN, 'is taken over by one of several'],
    'engine/shared/word-lock.js',
    'if (Atomics.compareExchange(i32, this.#word, holder, owner) !== holder)',
    'i32[this.#word] = owner;\n        if (false)',
  ),
  one(
    'a seat keeps its generation',
    [SEEN, 'on the seat of a dead one meanwhile'],
    'engine/shared/seats.js',
    'this.#control.setSeatGeneration(seat, generation);',
    '',
  ),
  one(
    'a lock is released that another one holds',
    [SEEN, 'is held by one at a time'],
    'engine/shared/word-lock.js',
    'if (Atomics.compareExchange(i32, this.#word, owner, 0) !== owner)',
    'i32[this.#word] = 0;\n        if (false)',
  ),
  one(
    'writers are not woken when their group is published',
    ['engine/shared/group-turns', 'when its group is published'],
    'engine/shared/group-turns.js',
    'this.#wake((Atomics.load(this.#i32, GROUP) & 1), true);',
    '',
  ),
  one(
    'a flush is believed though one that ran apart failed meanwhile',
    ['engine/commit/log-flusher', 'if one that runs apart fails beside them'],
    'engine/commit/log-flusher.js',
    'if (!inSpiteOfFailure)\n                control.refuseIfFailed();\n            control.durableLsn',
    'control.durableLsn',
  ),
  one(
    'a flush is tried after another one has failed',
    ['engine/commit/log-flusher', 'are refused once one has failed'],
    'engine/commit/log-flusher.js',
    'if (!inSpiteOfFailure)\n                control.refuseIfFailed();\n            if (control.durableLsn',
    'if (control.durableLsn',
  ),
  one(
    'two threads flush the log at the same time',
    ['engine/commit/log-flusher', 'run one at a time'],
    'engine/commit/log-flusher.js',
    'this.#acquire();',
    '',
  ),
  one(
    'frames are applied that came after the flush that ran apart had begun',
    ['engine/commit/flush-apart', 'those that came while it was flushed'],
    'engine/commit/committer.js',
    'const target = flushed ?? control.append.read(this.#target);',
    'const target = control.append.read(this.#target);',
  ),
  one(
    'a flush that ran apart is believed though another failed meanwhile',
    ['engine/commit/flush-apart', 'if another flush fails meanwhile'],
    'engine/commit/committer.js',
    'control.refuseIfFailed();\n        if (flushed === undefined)',
    'if (flushed === undefined)',
  ),
  one(
    'a flush that ran apart and failed is not told',
    ['engine/commit/flush-apart', 'if the flush fails'],
    'engine/commit/flush-apart.js',
    'if (error === undefined)',
    'if (true)',
  ),
  one(
    'much is applied on the thread of an event loop',
    ['engine/commit/flush-apart', 'if there is much to apply'],
    'engine/commit/flush-apart.js',
    'if (bytesBetween(visible, end) > MOST_BYTES)',
    'if (false)',
  ),
  one(
    'a synchronous write comes before those that wait to be sent',
    ['database/order.serial', 'take effect as they were called, with 2 workers'],
    'database/open-database.js',
    'this.#writes.sendAll();',
    '',
  ),
  one(
    'a synchronous write comes before those that a worker is to append',
    ['database/order.serial', 'is on its way to a worker, with 2 workers'],
    'database/open-database.js',
    'this.#commits.appendAll();',
    '',
  ),
]
