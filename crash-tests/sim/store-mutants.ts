// Safeguards of named stores, and of what clearing cuts out of the tree.
import { one, type Test, type TestedMutant } from './tested-mutant.js'

const STORES = 'database/stores.serial'
const GOES_ON: Test = [STORES, 'clearing, with 0 workers is gone on with after a crash that follows a checkpoint']

export const STORE_MUTANTS: readonly TestedMutant[] = [
  one(
    'a frame is appended though its store was dropped after it was built',
    [STORES, 'stores, with 0 workers take no write that was built before'],
    'engine/commit/log-tail.js',
    'stores !== 0 && stores !== a.storesGeneration',
    'false',
  ),
  one(
    'a drop is not counted',
    [STORES, 'stores, with 0 workers take no write that was built before'],
    'engine/commit/log-tail.js',
    'a.storesGeneration++;',
    ';',
  ),
  one(
    'a frame is taken for one of stores that are there without a look',
    [STORES, 'stores, with 0 workers take no write that was built before'],
    'engine/stores/stores.js',
    'if (numbers.size > 0)',
    'if (false)',
  ),
  one(
    'two that create a store at once make two',
    [STORES, 'stores, with 0 workers that threads make at once are one'],
    'engine/stores/stores.js',
    'encodeStore(number, encoding), IF_ABSENT',
    'encodeStore(number, encoding)',
  ),
  one(
    'a checkpoint does not bring the trash to disk',
    GOES_ON,
    'engine/checkpoint/seal-tree.js',
    'if (state[STATE.TRASH_HEIGHT] > 0)',
    'if (false)',
  ),
  one(
    'the header does not say where the trash is',
    GOES_ON,
    'engine/lifecycle/format-control.js',
    'state[STATE.TRASH_ROOT] = header.trashRoot;',
    ';',
  ),
  one(
    'a free list that is derived again includes the trash',
    [STORES, 'clearing, with 0 workers leaves the trash alone when the free list is made again'],
    'engine/space/derive-free-list.js',
    'if (header.trashHeight > 0)',
    'if (false)',
  ),
  one(
    'what follows the drop of a store shares its frame',
    [STORES, 'stores, with 0 workers take no write that follows their drop'],
    'database/write-queue.js',
    'if (before.isDropping || write.isDropping)',
    'if (false)',
  ),
  one(
    'a drop has no room where puts have none',
    [STORES, 'stores, with 0 workers can be dropped where there is no room'],
    'engine/commit/frame-needs.js',
    'puts: puts > 0 && !drops',
    'puts: puts > 0',
  ),
  one(
    'who begins to read the log later does not know the stores that are gone',
    ['database/changes', 'tells of a store that is gone by now'],
    'database/store-names.js',
    '[...stores.listDropped(), ...stores.list()]',
    'stores.list()',
  ),
  one(
    'a drop forgets stores that the log still has something of',
    ['database/changes', 'tells of a store that is gone by now'],
    'engine/stores/stores.js',
    'dropped.version <= since',
    'true',
  ),
  one(
    'a leaf that is freed stays to be verified, and the values that it leads to do not',
    [STORES, 'clearing, with 0 workers is not damage to readers of an older tree that come after it was freed'],
    'engine/tree/trash.js',
    'this.#parts.checker.accept(slot);',
    ';',
  ),
  one(
    'salvage brings back what was cleared',
    [STORES, 'clearing, with 0 workers does not come back by salvage'],
    'maintenance/salvage.js',
    'if (header !== undefined && header.trashHeight > 0)',
    'if (false)',
  ),
]
