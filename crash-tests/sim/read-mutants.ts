// Safeguards of reads of single keys.
import { one, type TestedMutant } from './tested-mutant.js'

export const READ_MUTANTS: readonly TestedMutant[] = [
  one(
    'a key is found by the head of another',
    ['engine/tree/find', 'finds the keys that are there and no others'],
    'engine/format/search.js',
    'if (n === keyLength)',
    'if (true)',
  ),
  one(
    'a key is found in a slot that has not been verified',
    ['engine/tree/find', 'without verifying them'],
    'engine/tree/reader.js',
    'if (slot < limit && (this.#bitmap[',
    'if (false && (this.#bitmap[',
  ),
  one(
    'a view that was kept can be read',
    ['database/view', 'of a database has its bytes until the function returns'],
    'storage/lent-memory.js',
    'taken = native.transfer(memory);',
    'taken = memory;',
  ),
  one(
    'the memory of a view is freed while another thread may read it',
    ['database/view', 'is not freed while another thread still reads it'],
    'storage/lent-memory.js',
    'takenMemory.set(memory, taken);',
    ';',
  ),
  one(
    'keys of a file that need not fit into memory are looked up on the calling thread',
    ['engine/read/in-memory', 'are not looked up in a file'],
    'engine/read/point-reads.js',
    'pin === undefined || this.#parts.space.readAhead.isUseful)',
    'pin === undefined)',
  ),
  one(
    'keys are looked up on the calling thread wherever their leaves are',
    ['engine/read/in-memory', 'are not looked up if a leaf'],
    'engine/tree/reader.js',
    'if (!this.space.region.areInMemory(slots))\n                return false;',
    '',
  ),
  one(
    'long values are read on the calling thread, wherever they are',
    ['engine/read/in-memory', 'are not looked up if a value'],
    'engine/read/point-reads.js',
    "if (where === 'leaves')\n                    return undefined;",
    ';',
  ),
]
