// Safeguards of what keeps a vast file cheap: the maps of unsealed slots, and what was free when it was opened.
import { one, type TestedMutant } from './tested-mutant.js'

export const SCALE_MUTANTS: readonly TestedMutant[] = [
  one(
    'what comes from disk may lead to a slot that is free there',
    ['engine/space/free-at-opening', 'is nowhere that a branch'],
    'engine/space/free-at-opening.js',
    'return low < this.#control.freeRuns && ',
    'return false && ',
  ),
  one(
    'on a full disk what comes from disk may lead to a slot that is free there',
    ['engine/space/free-at-opening', 'is marked slot by slot'],
    'engine/space/free-at-opening.js',
    'control.setVerified(slot);',
    ';',
  ),
  one(
    'the map that slots are marked in is cleared',
    ['engine/shared/unsealed-map', 'loses no mark'],
    'engine/shared/unsealed-map.js',
    '(Atomics.load(this.#i32, this.#turnWord) ^ 1)',
    'Atomics.load(this.#i32, this.#turnWord)',
  ),
  one(
    'a checkpoint does not turn to the other map',
    ['engine/shared/unsealed-map', 'until a checkpoint that began later'],
    'engine/shared/unsealed-map.js',
    'Atomics.xor(this.#i32, this.#turnWord, 1);',
    ';',
  ),
  one(
    'a checkpoint looks at slots that have not changed',
    ['engine/space/vast', 'is checkpointed by looking at what changed'],
    'engine/shared/unsealed-map.js',
    'return (both & (1 << (slot & 31))) !== 0;',
    'return true;',
  ),
  one(
    'the free list is given room for fewer runs than there may be',
    ['engine/checkpoint/checkpointer', 'lists all free slots'],
    'engine/space/allocator.js',
    '- s[STATE.MERGED_AT] + RINGS.length',
    '- s[STATE.MERGED_AT] - 2000',
  ),
  one(
    'a checkpoint lists all that is free, however little has changed',
    ['engine/checkpoint/next-list', 'costs what was written'],
    'engine/checkpoint/checkpointer.js',
    'if (isSmall || ',
    'if (true || ',
  ),
  one(
    'what was freed before a checkpoint that was not finished is not listed by the next',
    ['engine/checkpoint/next-list', 'names what was freed before a checkpoint that failed'],
    'engine/checkpoint/checkpointer.js',
    'allocator.freedSince(state[STATE.CHECKPOINT_DURABLE_LSN])',
    'allocator.freedSince(state[STATE.CHECKPOINT_BEGUN_LSN])',
  ),
  one(
    'slots that were used for the first time and are free again are not listed',
    ['engine/checkpoint/next-list', 'names what the tree does not reach'],
    'engine/checkpoint/next-list.js',
    'gapsBetween(takenByTree, before, nextSlot)',
    'gapsBetween(takenByTree, nextSlot, nextSlot)',
  ),
  one(
    'of two changes of the free list the older one counts',
    ['engine/checkpoint/next-list', 'names what the tree does not reach'],
    'engine/space/free-list.js',
    'composed(changes[2 * i], older)',
    'composed(older, changes[2 * i])',
  ),
  one(
    'a free list that does not list all is added to',
    ['engine/checkpoint/next-list', 'is written as a whole after a full disk'],
    'engine/checkpoint/next-list.js',
    'isComplete ? roomAbove(freed.length / 2) : 0',
    'roomAbove(freed.length / 2)',
  ),
  one(
    'a list that names a root as free is believed',
    ['engine/space/free-at-opening', 'names a root'],
    'engine/space/free-list.js',
    'if (root !== 0 && hasSlot(free, root))',
    'if (false)',
  ),
]
