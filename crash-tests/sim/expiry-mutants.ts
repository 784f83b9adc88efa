// Safeguards of entries that expire, and of the clock by which they do.
import { one, type Mutant } from './mutant.js'

export const EXPIRY_MUTANTS: readonly Mutant[] = [
  one(
    'a sweep removes an entry that was put again meanwhile',
    'engine/commit/decide.js',
    'this.#writer.foundVersion === operation.ifVersion',
    '(operation.isSweep || this.#writer.foundVersion === operation.ifVersion)',
  ),
  one(
    'conditions and sums see what has expired',
    'engine/commit/decide.js',
    'return isSweep || this.#writer.foundExpiresAt > this.#nowMs;',
    'return true;',
  ),
  one(
    'an add gives an entry that is there another time',
    'engine/commit/decide.js',
    'expiresAt = this.#writer.foundExpiresAt;',
    '',
  ),
  one('a count includes what has expired', 'engine/read/range-iterator.js', 'return here - expired;', 'return here;'),
  one(
    'a range includes what has expired',
    'engine/read/range-iterator.js',
    'if (this.#hasExpired && this.#isExpired(i))\n                        continue;',
    '',
  ),
  one(
    'a reader finds what has expired',
    'engine/read/snapshot.js',
    'guard, momentMs } = this.#source;\n        if (!reader.expires)',
    'guard, momentMs } = this.#source; if (true)',
  ),
  one(
    'the index does not follow when an entry is put again with another time',
    'engine/tree/writer.js',
    'if (before === expiresAt)',
    'if (before !== NEVER || before === expiresAt)',
  ),
  one(
    'the earliest time stays when its entry is gone',
    'engine/commit/apply.js',
    'if (this.#writer.isEarliestGone)',
    'if (false)',
  ),
  one(
    'the clock goes back with that of the system',
    'engine/shared/clock.js',
    'Math.floor(monotonicMs + this.#aheadMs)',
    'Math.floor(systemMs)',
  ),
  one('each process has a clock of its own', 'engine/shared/clock.js', 'this.#parts.control.raiseClock(aheadMs);', ';'),
  one(
    'recovery forgets the times in the log',
    'engine/lifecycle/recovery.js',
    'parts.clock.goOnFrom(applier.newestTimeMs);',
    '',
  ),
  one(
    'recovery forgets the time in the header',
    'engine/lifecycle/format-control.js',
    'clock.goOnFrom(header.clockMs);',
    '',
  ),
]
