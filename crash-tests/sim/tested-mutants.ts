// Safeguards against what lies outside the simulation (users' code, paths, owners, full disks, forgotten readers), and
// some that it needs thousands of seeds for. Each comes with what a version without it looks like, and the test that
// must find that version wrong: `npm run prove:mutants -- --seen-by tests` (mutate.ts) sees to that.
import { EVENT_LOOP_MUTANTS } from './event-loop-mutants.js'
import { LOCK_MUTANTS } from './lock-mutants.js'
import { LOG_MUTANTS } from './log-mutants.js'
import { WRITER_LOCK_MUTANTS } from './writer-lock-mutants.js'
import { STORE_MUTANTS } from './store-mutants.js'
import { one, type Test, type TestedMutant } from './tested-mutant.js'
import { TRANSACTION_MUTANTS } from './transaction-mutants.js'
import { COPY_MUTANTS } from './copy-mutants.js'
import { READ_MUTANTS } from './read-mutants.js'
import { SCALE_MUTANTS } from './scale-mutants.js'

const RE_ENTRANCY: Test = ['database/re-entrancy.serial', 'binary, synchronous writes, 0 workers']
const NESTED_VALUES: Test = ['database/re-entrancy.serial', 'msgpack, synchronous writes, 0 workers']
const STAYS: Test = ['identity/identity', 'stays the one that it is']
const NOT_IN_PLACE: Test = ['identity/others', 'files that are not where it looks']
const SEGMENT_LOST: Test = ['faults/files-replaced', 'nothing is acknowledged any more']
const ROUND_TRIPS: Test = ['encoding/round-trips', 'of every kind come back as they were put']
const FULL_DISK: Test = ['faults/full-disk', 'lets everything of']

const LENT: Test = ['engine/shared/lent-pin', 'ends the borrower at whatever step it is released: a chunk backwards']

export const TESTED_MUTANTS: readonly TestedMutant[] = [
  // ---- expiry
  one(
    'what the index still has is removed, whether or not it has become true',
    ['engine/expiry', 'in the index and nowhere else'],
    'engine/commit/sweep.js',
    'OP_FLAG.IF_VERSION | (expiresAt === undefined ? 0 : OP_FLAG.EXPIRES)',
    'expiresAt === undefined ? 0 : OP_FLAG.IF_VERSION | OP_FLAG.EXPIRES',
  ),
  one(
    'a write that finds the disk full leaves what has expired',
    ['engine/expiry', 'make room for a put'],
    'engine/checkpoint/make-room.js',
    'sweepNow(parts, SWEEPS);',
    ';',
  ),
  one(
    'the last closer cuts off what it could not apply',
    ['faults/injected-faults', 'opens again after a disk that is full, for good'],
    'engine/lifecycle/close.js',
    'committer.catchUp(appended);',
    ';',
  ),
  one(
    'the last closer leaves what has expired',
    ['engine/expiry', 'if nothing was written since'],
    'engine/lifecycle/close.js',
    'sweepNow(parts, SWEEPS);',
    '',
  ),
  one(
    'two sweep at once',
    ['engine/expiry', 'by one sweeper at a time'],
    'engine/sweeper.js',
    "if (!locks.tryLock(LOCK.SWEEP, 'exclusive'))",
    'if (false)',
  ),
  one(
    'slots are set aside without those of the index',
    ['engine/commit/slot-budget', 'a batch gives entries all over the tree other times'],
    'engine/commit/slot-budget.js',
    '(mayExpire ? (puts ? 3 : 2) : 1)',
    '1',
  ),
  // ---- pins that are lent
  one(
    'a borrower does not look whether its pin was released',
    LENT,
    'engine/shared/lent-pin.js',
    'if (Atomics.load(this.#ended, 0) !== 0)',
    'if (false)',
  ),
  one(
    'a lender releases its pin and tells no borrower',
    LENT,
    'engine/shared/shared-pins.js',
    'if (this.#ended !== undefined)',
    'if (false)',
  ),
  one(
    'a borrower does not look whether its pin was ended for what it holds back',
    ['engine/shared/lent-pin', 'ends the borrower when the lender is ended'],
    'engine/shared/lent-pin.js',
    'if (!stands)',
    'if (false)',
  ),
  // ---- following the log
  one(
    'a follower does not read the names of the segments again',
    ['wal/change-reader', 'what a dead appender left in the segment before'],
    'wal/change-reader.js',
    'frames.restart(place.position);',
    'if (frames.position !== place.position) frames.restart(place.position);',
  ),
  one(
    'a segment that is recycled while it is looked for is an error',
    ['wal/change-reader', 'recycled at any step'],
    'wal/log.js',
    "error.code === 'ENOENT')\n                return undefined;",
    'false) return undefined;',
  ),
  one(
    'a publisher makes a system call though nobody waits',
    ['database/changes', 'wakes nobody while nobody waits'],
    'engine/shared/control.js',
    'if (calls !== this.i32[AT.CHANGE_CALLS_ANSWERED >> 2])',
    'if (true)',
  ),
  one(
    'a publisher wakes no follower',
    ['database/changes', 'wakes nobody while nobody waits'],
    'engine/shared/control.js',
    'this.region.wakeAll(AT.SEQUENCE);',
    '',
  ),
  one(
    'a change feed holds the event loop for as long as there is something to tell',
    ['database/changes', 'holds the event loop'],
    'database/live-iterator.js',
    'if (performance.now() >= this.#sliceEndsMs)\n            return undefined;',
    '',
  ),
  one(
    'a watch that reads no further misses what was written meanwhile',
    ['database/watch', 'misses nothing when more was written'],
    'database/key-watch.js',
    'this.#allMayHaveChanged();\n        return true;',
    'return true;',
  ),
  one(
    'how much of the log is to be kept is not stored before open says so',
    ['database/changes', 'goes on right after each cursor'],
    'database/open.js',
    'await db.checkpoint()',
    ';',
  ),
  one(
    'what is kept of the log for its readers stays on a full disk',
    ['database/retention', 'given up on a full disk'],
    'engine/checkpoint/make-room.js',
    'isOfDisk(why) && checkpointer.releaseRetained() > 0',
    'false',
  ),
  one(
    'what is kept of the log does not become too old',
    ['database/retention', 'older than was asked for'],
    'wal/retention.js',
    'firstMs > timeMs',
    'true',
  ),
  one(
    'of what is kept that counts, too, which a power cut may undo',
    ['database/retention', 'is counted from what is on disk'],
    'engine/checkpoint/checkpointer.js',
    'retainedFrom(log, control.durableLsn, ',
    'retainedFrom(log, control.append.read(newAppendFields()).tailLsn, ',
  ),
  // ---- the log, for writers that ask what was decided
  one(
    'a checkpoint recycles the log that a writer is about to read',
    ['engine/commit/outcomes', 'stay in the log until their writers have read them'],
    'engine/checkpoint/checkpointer.js',
    'log.releaseBefore(this.#neededFrom(lsn), current)',
    'log.releaseBefore(lsn, current)',
  ),
  one(
    'the log is kept for a writer that is dead',
    ['engine/commit/outcomes', 'stay in the log until their writers have read them'],
    'engine/shared/pins.js',
    'if (isMine ? !byOthers : !this.#clearIfDead(index))',
    'if (true)',
  ),
  one(
    'a database that is there is taken for one that was created',
    ['database/range-async.serial', 'lets one of many openers win'],
    'engine/lifecycle/open.js',
    'if (!options.errorIfExists || expected?.data !== undefined)',
    'if (true)',
  ),
  // ---- users' code inside a call
  one(
    'writes of one thread share a frame',
    RE_ENTRANCY,
    'engine/commit/operation-writer.js',
    'this.#frames.pop() ?? new FrameBuilder()',
    '(this.#frames[0] ??= new FrameBuilder())',
  ),
  {
    name: "the key is written down before the user's code has run",
    test: NESTED_VALUES,
    changes: [
      {
        file: 'engine/commit/operation-writer.js',
        from: 'const taken = takenKey(key);\n        const bytes = space.values',
        to: 'const length = space.encode(key);\n        const bytes = space.values',
      },
      {
        file: 'engine/commit/operation-writer.js',
        from: 'const length = space.write(taken);\n        if (space.number > 0)\n            frame.touchStores(space.generation);\n        frame.put(',
        to: 'frame.put(',
      },
    ],
  },
  one(
    'nested calls share the writer of values',
    NESTED_VALUES,
    'encoding/values/codec.js',
    'isWriting ? new MsgpackWriter() : writer',
    'writer',
  ),
  // ---- which database this is
  one(
    'the path is not made absolute',
    ['identity/identity', 'is called by the absolute path'],
    'engine/options.js',
    'path: absolutePath(path)',
    'path',
  ),
  one(
    'a worker opens whatever its path leads to',
    STAYS,
    'engine/lifecycle/home-directory.js',
    'storage.openDirectory(path, directory)',
    'storage.openDirectory(path)',
  ),
  one(
    'nobody looks whether the data file is in place',
    NOT_IN_PLACE,
    'engine/shared/files-in-place.js',
    '!dataFile.isInPlace()',
    'false',
  ),
  one(
    'nobody looks whether the segment is in place',
    SEGMENT_LOST,
    'engine/shared/files-in-place.js',
    ' && log.isInPlace(segment) ? segment',
    ' ? segment',
  ),
  one(
    'nobody looks whether the data file has been written over',
    ['identity/others', 'written over'],
    'engine/shared/files-in-place.js',
    "throw new DisplacedError(dataFile.path, 'written over', RESTORED);",
    '',
  ),
  one(
    'nobody looks whether the segment has been written over',
    SEGMENT_LOST,
    'engine/shared/files-in-place.js',
    ' || !log.isWhole(segment)',
    '',
  ),
  one(
    'what only one process meets stops everybody',
    ['identity/others', 'it writes no more, and others lead'],
    'engine/commit/committer.js',
    'if (error instanceof CorruptError && checker.isWhole)',
    'if (true)',
  ),
  one(
    'an opener that joined a control in memory keeps other processes out when it makes one of its own',
    ['faults/full-disk', 'as the only other thread ends'],
    'engine/lifecycle/attach.js',
    'locks.unlock(LOCK.IN_MEMORY);',
    '',
  ),
  one(
    'an opener that joins is told of damage when the others end',
    ['engine/concurrency.serial', 'and its control with it'],
    'engine/lifecycle/attach.js',
    "if (!locks.tryLock(LOCK.ATTACHED, 'exclusive'))\n            throw error;",
    'throw error;',
  ),
  one(
    'a directory is judged by what one look finds',
    ['engine/concurrency.serial', 'between any two looks'],
    'engine/lifecycle/paths.js',
    "if (storage.info(data).kind === 'file')\n        return 'exists';\n    throw why;",
    'throw why;',
  ),
  one(
    'a network file system is detected on the second opening only',
    ['identity/identity', 'is neither created nor opened'],
    'engine/lifecycle/home-directory.js',
    'refuseNetwork(storage, path, existingAncestor(storage, path));',
    ';',
  ),
  one(
    'nothing checks for the end of the LSNs',
    ['identity/end-of-log', 'takes writes up to its limit'],
    'engine/commit/log-tail.js',
    'end > USERS_LSN_LIMIT',
    'false',
  ),
  // ---- values
  one(
    'a database opens with any encoding',
    ['encoding/value-encoding', 'is named by no other name'],
    'encoding/values/codec.js',
    'named === undefined || named === stored',
    'true',
  ),
  one(
    'fields of an array beside its elements are left out',
    ROUND_TRIPS,
    'encoding/values/msgpack-writer.js',
    'if (hasNamedFields(array))',
    'if (false)',
  ),
  one(
    'lone surrogates are replaced',
    ROUND_TRIPS,
    'encoding/values/msgpack-writer.js',
    '!text.isWellFormed()',
    'false',
  ),
  one('-0 is 0', ROUND_TRIPS, 'encoding/values/msgpack-writer.js', '(value !== 0 || 1 / value > 0)', 'true'),
  one(
    'symbols of an object are left out',
    ROUND_TRIPS,
    'encoding/values/msgpack-writer.js',
    'Object.getOwnPropertySymbols(object).length > 0',
    'false',
  ),
  // ---- readers that are ended, and their places
  one(
    'an iterator that seeks outside of its range lets go of its moment',
    ['engine/read/iterator', 'of a database lets go of its tree with its last entry'],
    'engine/read/range-iterator.js',
    "this.#state = 'outside';",
    'this.#end();',
  ),
  one(
    'entries are counted that may not have been held',
    ['engine/shared/read-guard', 'hands out nothing wrong'],
    'engine/read/range-iterator.js',
    'this.#source.guard.assertNotExpired();\n                count',
    'count',
  ),
  one(
    'a count that is ended is given up',
    ['engine/shared/read-guard', 'starts a count again'],
    'engine/read/pinned-reads.js',
    '!(error instanceof ExpiredError) || storage',
    'true || storage',
  ),
  one(
    'who is forgotten keeps its pin',
    ['engine/shared/forgotten-readers', 'give their places back'],
    'engine/shared/shared-pins.js',
    'new FinalizationRegistry((share) => share.release())',
    'new FinalizationRegistry(() => undefined)',
  ),
  one(
    'every snapshot has a pin of its own',
    ['engine/shared/shared-pins', 'costs one place for all'],
    'engine/shared/shared-pins.js',
    'if (newest !== undefined && newest',
    'if (false && newest',
  ),
  one(
    'pins by locks are not looked for',
    ['engine/shared/lock-pins', 'hold the tree'],
    'engine/shared/lock-pins.js',
    'locks.heldByOther(LOCK.LSN_PINS, end) < 0',
    'true',
  ),
  // ---- full disks
  one(
    'puts leave no slots to deletes',
    ['engine/commit/slot-budget', 'are more for a put where nothing else could be deleted any more'],
    'engine/commit/log-tail.js',
    'puts ? needed + slotsForDeletes(state) : needed',
    'needed',
  ),
  one(
    'slots of a long value are not set aside',
    ['engine/commit/slot-budget', 'are as many as it takes for long values'],
    'engine/commit/slot-budget.js',
    'branches + 2 + overflowSlots',
    'branches + 2',
  ),
  one(
    'a long frame of puts passes for a short one',
    ['engine/commit/slot-budget', 'are as many as it takes for long values'],
    'engine/commit/frame-needs.js',
    'areAllPuts && isInline(frame.length, 0, EXPIRY_BYTES)',
    'areAllPuts',
  ),
  one(
    'a delete sets as much aside as a put',
    ['engine/commit/slot-budget', 'hardly any for a delete'],
    'engine/commit/slot-budget.js',
    'puts || pending > 0 ? pending',
    'true ? pending',
  ),
  one(
    'where the disk is full no checkpoint is made',
    FULL_DISK,
    'engine/checkpoint/make-room.js',
    '|| !makeRoom(parts, needsOf(frame).puts, error, hold)',
    '|| true',
  ),
  one(
    'a log that cannot have another segment stays full',
    FULL_DISK,
    'engine/checkpoint/make-room.js',
    '|| committer.reuseSegment()',
    '',
  ),
  one(
    'a full disk refuses a file for readers and writers to meet in',
    ['faults/full-disk', 'loses nothing, whatever is done on it'],
    'engine/lifecycle/control-file.js',
    'if (!isFullDisk(error))',
    'if (true)',
  ),
  one(
    'a creation that fails leaves its files',
    ['faults/full-disk', 'is left as free as it was'],
    'engine/lifecycle/create.js',
    'storage.unlink(join(wal, segmentName(FIRST_LSN)));',
    '',
  ),
  one(
    'a reader that could write replays the log on disk, whatever room there is',
    ['faults/full-disk', 'does not keep a reader'],
    'engine/engine.js',
    'readOnly && error instanceof FullError',
    'false',
  ),
  {
    name: 'writes that share a frame share its fate',
    test: ['engine/commit/append-writes', 'do not share the fate'],
    changes: [
      { file: 'engine/commit/append-writes.js', from: 'isOfSome && end - first > 1', to: 'false' },
      {
        file: 'engine/commit/append-writes.js',
        from: 'refused.push({ first, count: 1, error });',
        to: 'refused.push({ first, count: end - first, error });',
      },
    ],
  },
  // ---- what a failed flush leaves
  one(
    'the header of a segment that was not finished is not erased',
    ['faults/injected-faults', 'does not come back with a header'],
    'engine/lifecycle/recovery.js',
    'log.eraseUnfinished(endLsn);',
    ';',
  ),
  one(
    'what recovery has read counts as durable, though a dead process could not flush it',
    ['faults/injected-faults', 'holds no proof that frames were on disk'],
    'engine/lifecycle/recovery.js',
    'control.append.publish(append);\n        if (tornBytes > 0)',
    'control.append.publish(append); control.durableLsn = endLsn;\n        if (tornBytes > 0)',
  ),
  one(
    'of the outcomes behind a frame only the first are looked at',
    ['engine/commit/outcomes', 'whose leader died after others had been written right behind it'],
    'engine/commit/find-outcome.js',
    'reader.restart(end);\n    while (reader.next(tail))',
    'reader.restart(end);\n        if (reader.next(tail))',
  ),
  one(
    'what a group has decided goes into one frame, however long that is',
    ['engine/commit/outcomes', 'share a frame as long as it is not too long'],
    'wal/outcomes.js',
    'lengthBytes + entryBytes > MOST_SHARED_BYTES',
    'false',
  ),
  one(
    'a batch decides more than a frame can say',
    ['wal/frame', 'is refused if it would add to more counters'],
    'wal/frame-builder.js',
    'if (this.#addCount >= MAX_FRAME_ADDS)',
    'if (false)',
  ),
  one(
    'room is made of the log that a writer is about to read',
    ['engine/commit/outcomes', 'reach their writer before room is made on a full disk'],
    'engine/checkpoint/make-room.js',
    'awaitWriters(parts);',
    ';',
  ),
  one(
    'a thread gives up the log that says what became of its own writes',
    ['engine/commit/outcomes', 'are not lost by a thread that makes room'],
    'engine/checkpoint/make-room.js',
    'committer.readOwnOutcomes();',
    ';',
  ),
  one(
    'salvage takes writes for done that nothing says were',
    ['hostile/salvage', 'brings out what nothing had to be decided about'],
    'wal/changes.js',
    'isCertain = false;\n        else',
    ';\n        else',
  ),
  one(
    'a thread that can lead looks for ever for a frame that is gone',
    ['engine/commit/committer', 'ends after the time limit'],
    'engine/commit/committer.js',
    'mayLead = this.#leadOnce();',
    'this.#leadOnce();',
  ),
  // ---- what the simulation hardly ever reaches
  one(
    'the segment that the append state names is recycled, though the next one is there',
    ['wal/log-reader', 'while the append state names them'],
    'wal/log.js',
    'start <= lsn && start <= current',
    'start <= lsn',
  ),
  one(
    'entries of a ring are overwritten that a group which is given up still needs',
    ['engine/space/rings', 'until the group is published'],
    'engine/space/rings.js',
    'tail - this.#publishedHeads.get(ring) >= s[ring + CAPACITY]',
    'tail - s[ring + HEAD] >= s[ring + CAPACITY]',
  ),
  one(
    'a checkpoint does not say that the log up to it is not needed for a power cut',
    ['faults/killed.serial', 'killed in the middle of its recovery'],
    'engine/checkpoint/checkpointer.js',
    'if (control.durableLsn < header.lsn)',
    'if (false)',
  ),
  one(
    'who has flushed the log does not say up to where',
    ['engine/commit/log-flusher', 'for what another one has brought to disk'],
    'engine/commit/log-flusher.js',
    'control.durableLsn = tailLsn;\n            return true;',
    'return true;',
  ),
  one(
    'room for what is decided is given up with a segment that has no successor',
    ['faults/full-disk', 'stops nobody whose write is in the log'],
    'engine/commit/log-tail.js',
    "if (segment === undefined || storage.info(log.pathOf(a.tailLsn)).kind !== 'missing')",
    'if (true)',
  ),
  one(
    'a sum is looked for in the leaf alone',
    ['database/conditions', 'without promises add up under the longest keys'],
    'engine/tree/writer.js',
    'if (pointer.lengthBytes > mostBytes)',
    'if (true)',
  ),
  // ---- owners and modes
  one(
    'a new file gets what the umask leaves',
    ['storage/ownership', 'gives a new file mode'],
    'storage/ownership.js',
    'native.takeAfter(fd, like);\n        return fd;',
    'return fd;',
  ),
  // ---- waiting
  one(
    'nobody looks how long work has waited for a thread',
    ['workers/lanes.serial', 'give up what has waited too long'],
    'workers/lane.js',
    'this.#watch.begin();',
    ';',
  ),
  // ---- closing
  one(
    'a close moves the values of leaves that nobody has found in their place',
    ['engine/space/space', 'is made smaller by one close after the other'],
    'engine/tree/compaction.js',
    'if (isFirst && level === 0)',
    'if (false)',
  ),
  ...EVENT_LOOP_MUTANTS,
  ...LOCK_MUTANTS,
  ...LOG_MUTANTS,
  ...WRITER_LOCK_MUTANTS,
  ...STORE_MUTANTS,
  ...TRANSACTION_MUTANTS,
  // ---- backups, and what else copies databases
  ...COPY_MUTANTS,
  ...READ_MUTANTS,
  ...SCALE_MUTANTS,
]
