// Safeguards of the protocols, each with what a version without it looks like. The simulation must
// find every one of these versions wrong: `npm run prove:mutants` (mutate.ts) sees to that.

import { EXPIRY_MUTANTS } from './expiry-mutants.js'
import { one, type Mutant } from './mutant.js'

/** One that besides gives out as damage what an expired reader seems to find: else that hides most of what it reads. */
const unjudged = (name: string, file: string, from: string, to: string): Mutant => ({
  name,
  changes: [
    { file, from, to },
    {
      file: 'engine/read/range-iterator.js',
      from: 'if (error instanceof ClosedError)',
      to: "if (error instanceof ClosedError || error.code === 'ERR_MMAPDB_CORRUPT')",
    },
  ],
})

export const MUTANTS: readonly Mutant[] = [
  // ---- commit
  one(
    'the log is not flushed before its frames are acknowledged',
    'engine/commit/committer.js',
    'if (flusher.flush(target)) {',
    'if (false) {',
  ),
  {
    name: 'the tree is published before the log is flushed',
    changes: [
      {
        file: 'engine/commit/committer.js',
        from: 'if (flusher.flush(target)) {',
        to: 'if (false) {',
      },
      {
        file: 'engine/commit/committer.js',
        from: 'control.publishState(state);\n            control.turns.pass();',
        to: 'control.publishState(state); flusher.flush(target);\n            control.turns.pass();',
      },
    ],
  },
  one(
    'the end of the log is published before the frame is written',
    'engine/commit/log-tail.js',
    'log.write(segment, frame, lsn);',
    'control.append.publish({ ...a, tailLsn: end }); log.write(segment, frame, lsn);',
  ),
  one(
    'a frame is written without the append lock',
    'engine/shared/writer-locks.js',
    'if (!appendLock.take(() => new Patience(storage, timeoutMs)))',
    'if (false)',
  ),
  one(
    'a group is led without the leader lock',
    'engine/commit/committer.js',
    'if (hasWaited ? leaderLock.takeOver() : isMyTurn && leaderLock.isFree && leaderLock.tryTake())',
    'if (true)',
  ),
  one(
    'a write that is in the log is reported as one that is not',
    'engine/commit/committer.js',
    'throw outcomeUnknown(typed, lsn);',
    'throw typed;',
  ),
  one(
    'writes go on after a flush that failed',
    'engine/shared/control.js',
    "this.fail({ code: 'ERR_MMAPDB_IO', message: error.message, lsn: this.append.read(newAppendFields()).tailLsn });",
    ';',
  ),
  {
    name: 'a flush is believed that went well after another had failed',
    changes: [
      {
        file: 'engine/commit/log-flusher.js',
        from: 'if (!inSpiteOfFailure)\n                control.refuseIfFailed();\n            if (control.durableLsn',
        to: 'if (control.durableLsn',
      },
      {
        file: 'engine/commit/log-flusher.js',
        from: 'if (!inSpiteOfFailure)\n                control.refuseIfFailed();\n            control.durableLsn',
        to: 'control.durableLsn',
      },
    ],
  },
  one(
    'what a dead appender left is counted',
    'engine/commit/committer.js',
    'const target = flushed ?? control.append.read(this.#target);',
    'const target = flushed ?? { ...control.append.read(this.#target) }; { const r = new LogReader(this.#parts.log, target.tailLsn); if (r.next(2 ** 47)) target.tailLsn = r.position; }',
  ),
  // ---- segments
  one(
    'the old segment is not flushed before a new one begins',
    'engine/commit/log-tail.js',
    'if (a.segmentStartLsn !== tail)\n            flusher.flush(a);',
    '',
  ),
  one(
    'the header of a new segment is not flushed',
    'wal/log.js',
    "SEGMENT_HEADER_BYTES, 0);\n        flushed('Flushing a new segment of the log', () => file.flush());",
    'SEGMENT_HEADER_BYTES, 0);',
  ),
  one(
    'the name of a new segment is not flushed',
    'wal/log.js',
    "crashPoint('segment-linked');\n            this.#flushDirectory();",
    '',
  ),
  one(
    'the name of a segment that was found is not flushed',
    'wal/log.js',
    'this.#writeHeader(file, header);\n        this.#flushDirectory();\n        return Math',
    'this.#writeHeader(file, header); return Math',
  ),
  one(
    'segments are recycled that the tree on disk does not include',
    'engine/checkpoint/checkpointer.js',
    'log.releaseBefore(this.#neededFrom(lsn), current)',
    'log.releaseBefore(control.append.read(newAppendFields()).tailLsn, current)',
  ),
  one(
    'an older segment is read on beyond the start of a newer one',
    'wal/log-reader.js',
    'this.#nextStart = starts[i];',
    '',
  ),
  {
    name: 'neither salt nor LSN tell frames of a former life of a segment',
    changes: [
      {
        file: 'wal/log.js',
        from: 'const salt = left?.salt ?? Buffer.from(this.storage.randomBytes(4)).readUInt32LE(0);',
        to: 'const salt = 0;',
      },
      { file: 'wal/frame.js', from: 'if (readLsn(bytes, at + FRAME.LSN) !== lsn)', to: 'if (false)' },
      { file: 'wal/log-reader.js', from: 'if (readLsn(this.#buffer, at + FRAME.LSN) !== lsn)', to: 'if (false)' },
    ],
  },
  one(
    'the append state does not say that the old segment is full',
    'engine/commit/log-tail.js',
    'a.segmentLimitLsn = tail;\n        control.append.publish(a);\n        try',
    'try',
  ),
  {
    name: 'a segment that is restarted gets another salt, and processes that have it open go on with the old one',
    changes: [
      { file: 'wal/log.js', from: 'left?.salt ?? ', to: '' },
      {
        file: 'engine/commit/log-tail.js',
        from: 'log.segment(a.segmentStartLsn, a.segmentSalt)',
        to: 'log.segment(a.segmentStartLsn)',
      },
    ],
  },
  one(
    'a frame that never counted stays after a header that is written again',
    'wal/log.js',
    'this.#eraseFirstFrame(file, startLsn);',
    '',
  ),
  one(
    'a segment that was begun and not finished is gone on in',
    'engine/lifecycle/recovery.js',
    'if (unfinished && checkpoint !== undefined)',
    'if (false)',
  ),
  // ---- reading the log back
  one(
    'the CRC of a frame is not looked at',
    'wal/frame.js',
    'crc32c(bytes.subarray(at + FRAME.LENGTH, at + length), salt) === bytes.readUInt32LE(at + FRAME.CRC)',
    'true',
  ),
  one('rot passes for a torn tail: the watermark is ignored', 'wal/log-end.js', 'if (watermark > end)', 'if (false)'),
  one('rot passes for a torn tail: later segments are ignored', 'wal/log-end.js', 'if (start > end)', 'if (false)'),
  one('a torn tail is not erased', 'engine/lifecycle/recovery.js', 'if (tornBytes > 0)', 'if (false)'),
  one(
    'the erasure of a torn tail is not flushed',
    'wal/log.js',
    'filePosition(segment.startLsn, from) + done);\n        }\n        this.flush(segment);',
    'filePosition(segment.startLsn, from) + done);\n        }',
  ),
  // ---- the allocator
  one(
    'slots are reused although readers see them',
    'engine/space/allocator.js',
    'this.#readers = this.#pins.older(state[STATE.VISIBLE_LSN], state[STATE.GROUPS] % GROUPS_BETWEEN_CHECKS === 0);',
    'this.#readers = [];',
  ),
  one(
    'every pin counts as a dead one',
    'engine/shared/pins.js',
    "!this.#locks.tryLock(LOCK.PINS + index, 'exclusive')",
    'false',
  ),
  one(
    'slots are reused that the checkpoint on disk reaches',
    'engine/space/allocator.js',
    'const limit = Math.min(oldest, s[STATE.CHECKPOINT_DURABLE_LSN]);',
    'const limit = oldest;',
  ),
  one(
    'what a checkpoint reaches counts as loose',
    'engine/space/allocator.js',
    'else if (madeAtLsn > this.#state[STATE.CHECKPOINT_BEGUN_LSN])',
    'else if (madeAtLsn > 0)',
  ),
  one(
    'a checkpoint does not say that it has begun',
    'engine/checkpoint/checkpointer.js',
    'state[STATE.CHECKPOINT_BEGUN_LSN] = lsn;',
    '',
  ),
  one(
    'the free list of an unfinished checkpoint is free at once',
    'engine/checkpoint/checkpointer.js',
    'allocator.freeCheckpointed(slot);',
    'allocator.freeUnreachable(slot);',
  ),
  one(
    'with what an unfinished checkpoint has added, all of the free list on disk is freed',
    'engine/space/free-list.js',
    'if (slotLsn(space, slot) <= lsn)\n            break;',
    '',
  ),
  one(
    'what the tree has taken stays in the free list on disk',
    'engine/checkpoint/next-list.js',
    'const taken = unionOf(takenByTree, own);',
    'const taken = own;',
  ),
  one(
    'the slots that a free list is added in are not taken from it',
    'engine/checkpoint/next-list.js',
    'const taken = unionOf(takenByTree, own);',
    'const taken = takenByTree;',
  ),
  // ---- writes that depend on what they find
  one(
    'the conditions of a write are not looked at',
    'engine/commit/decide.js',
    'if ((flags & CONDITIONS) !== 0 && !this.#holds(operation))',
    'if (false)',
  ),
  one(
    'a write that is refused has done a part of it',
    'engine/commit/decide.js',
    'if (verdict === VERDICT.DONE)\n                    this.#perform',
    'if (verdict === VERDICT.DONE || performed.kind === OP_PUT)\n                    this.#perform',
  ),
  one(
    'what a group has decided is not appended',
    'engine/commit/committer.js',
    'this.#appendOutcomes(state);\n            state[STATE.OUTCOME_BYTES]',
    'state[STATE.OUTCOME_BYTES]',
  ),
  one(
    'what was decided goes into a segment that is full',
    'engine/commit/log-tail.js',
    'if (end > a.segmentLimitLsn)\n            this.#switchSegment(',
    'if (false)\n            this.#switchSegment(',
  ),
  one(
    'recovery does not append what the replay has decided',
    'engine/lifecycle/recovery.js',
    'parts.recordOutcomes();',
    '',
  ),
  one(
    'a checkpoint does not flush what was decided about its frames',
    'engine/checkpoint/checkpointer.js',
    'this.#flushOutcomes(state, inSpiteOfFailure);',
    '',
  ),
  // ---- readers that can be ended
  unjudged(
    'a copy of a slot is believed that may not have been held',
    'engine/space/slot-checker.js',
    'guard.assertNotExpired();\n        readStep();',
    'readStep();',
  ),
  unjudged(
    'a long value is put together of slots that may not have been held',
    'engine/space/overflow.js',
    'guard?.assertNotExpired();',
    '',
  ),
  one(
    'a leaf stays due while what it leads to has been verified',
    'engine/tree/writer.js',
    'this.#checker.accept(child);',
    '',
  ),
  one(
    'an expired pin stands',
    'engine/shared/pins.js',
    'if (Atomics.or(this.#control.i32, this.flagAt, 0) !== EXPIRED)',
    'if (true)',
  ),
  // ---- checkpoint
  one(
    'slots are not flushed before the headers name them',
    'engine/checkpoint/checkpointer.js',
    "flushed('Flushing the data file', () => space.region.flush());",
    '',
  ),
  one(
    'the headers are not flushed before the old tree is given up',
    'engine/format/header-slots.js',
    "flushed('Flushing the headers', () => space.region.flush());",
    '',
  ),
  one(
    'one copy of the header only',
    'engine/format/header-slots.js',
    "crashPoint('between-headers');\n    copyHeader(space, header, second);",
    '',
  ),
  one(
    'every checkpoint writes the same two headers',
    'engine/format/header.js',
    'checkpointNumber % 2,\n    2 + (checkpointNumber % 2),',
    '0,\n    2,',
  ),
  one(
    'slots made since the last checkpoint are not all sealed',
    'engine/checkpoint/seal-tree.js',
    '> sinceLsn;',
    '> sinceLsn + 250;',
  ),
  // ---- opening and closing
  one(
    'the oldest header wins',
    'engine/lifecycle/find-header.js',
    'a.checkpointNumber > b.checkpointNumber',
    'a.checkpointNumber < b.checkpointNumber',
  ),
  one(
    'the header recovery goes by may not be on disk',
    'engine/lifecycle/recover-database.js',
    'settleHeader(parts, header);',
    ';',
  ),
  one(
    'a second opener recovers, too',
    'engine/lifecycle/attach.js',
    "isPrivate || (!isOnlooker && locks.tryLock(LOCK.ATTACHED, 'exclusive'))",
    'true',
  ),
  one(
    'any closer counts as the last',
    'engine/lifecycle/close.js',
    "if (!locks.tryLock(LOCK.ATTACHED, 'exclusive'))\n        return;",
    '',
  ),
  one(
    'the log restarts before the checkpoint of a clean close',
    'engine/lifecycle/close.js',
    'let report = checkpointer.run({ wait: true, cutTail: !isHeld });',
    'leaveLog(parts); let report = checkpointer.run({ wait: true, cutTail: true });',
  ),
  one(
    'the data file is cut before the free slots at its end are given up on disk',
    'engine/lifecycle/close.js',
    '(report?.nextSlot ?? state[STATE.NEXT_SLOT]) + slotsForDeletesWhenClosed(state)',
    '4 + state[STATE.LEAVES] + state[STATE.BRANCHES] + state[STATE.OVERFLOWS] + state[STATE.FREE_LIST_SLOTS]',
  ),
  one(
    'the name of the log directory is not flushed',
    'engine/lifecycle/create.js',
    'storage.flushDirectory(directory);',
    '',
  ),
  one(
    'the name of the data file is not flushed before there is a log',
    'engine/lifecycle/settle-names.js',
    'flushParent(storage, data);',
    '',
  ),
  // ---- transactions
  one(
    'a range that a transaction has read is not checked',
    'engine/commit/decide.js',
    'if (kind === OP_CHECK_RANGE && !this.#ranges.isUnchanged(operation, this.#nowMs))',
    'if (false)',
  ),
  one(
    'a check of a range leaves versions out',
    'engine/commit/range-checker.js',
    '|| readVersion(leaf.u16, leaf.base + leaf.cellOffset(i)) >= lsn',
    '',
  ),
  one(
    'a check of a range does not notice what is missing',
    'engine/commit/range-checker.js',
    'return found === entries;',
    'return true;',
  ),
  {
    name: 'a range is checked in the published tree, not in that of the group',
    changes: [
      {
        file: 'engine/tree/writer.js',
        from: 'this.#state = state;',
        to: 'this.#state = state; this.path = state.slice();',
      },
      { file: 'engine/tree/writer.js', from: 'return this.#state;', to: 'return this.path;' },
    ],
  },
  one(
    'a transaction does not check that nothing followed what it has read of a range',
    'engine/transactions/noted-reads.js',
    'this.#isWhole = true;',
    '',
  ),
  one(
    'a transaction does not check what it has read of a range that it left early',
    'engine/transactions/noted-reads.js',
    'else if (this.#last === undefined)',
    'else if (true)',
  ),
  one(
    'a transaction does not check the keys that it has read',
    'engine/transactions/noted-reads.js',
    'frame.check(noted.key, noted.key.length, conditionsFor(noted));',
    ';',
  ),
  one(
    'a transaction does not check the keys that it has read and written',
    'engine/transactions/noted-reads.js',
    'return noted === undefined ? UNCONDITIONAL : conditionsFor(noted);',
    'return UNCONDITIONAL;',
  ),
  one(
    'a transaction that has asked for the presence of a key does not check its value, which it has read later',
    'engine/transactions/noted-reads.js',
    'if (noted !== undefined && (isPresenceOnly || !noted.isPresenceOnly))',
    'if (noted !== undefined)',
  ),
  one(
    'the ranges of a transaction do not show its own writes',
    'engine/transactions/engine-transaction.js',
    'own: this.#own.within(bounds),',
    'own: [],',
  ),
  one(
    'a transaction takes the checks of its ranges to be of the newest moment',
    'engine/transactions/engine-transaction.js',
    'this.#reads.checkIn(frame, this.#lsn, this.#own);',
    'this.#reads.checkIn(frame, 2 ** 52, this.#own);',
  ),
  // ---- following the log
  one(
    'a follower is told of writes that were refused',
    'wal/changes.js',
    'if (decided.verdict !== VERDICT.DONE)',
    'if (false)',
  ),
  one(
    'a follower is told of deletes that found nothing',
    'wal/changes.js',
    'kind === OP_DEL && decided.removed',
    'kind === OP_DEL',
  ),
  one(
    'a cursor inside a batch leads to the change that was told last',
    'database/change-feed.js',
    'this.#change.index > toldIndex',
    'this.#change.index >= toldIndex',
  ),
  one(
    'a cursor inside a batch leads to the end of the batch',
    'database/change-feed.js',
    'this.#told = this.#change === undefined ? { lsn } : { lsn, index: change.index };',
    'this.#told = { lsn };',
  ),
  one(
    'a follower is told what is not visible yet',
    'engine/read/log-follower.js',
    'const { visible } = this;',
    'const visible = control.append.read(newAppendFields()).tailLsn;',
  ),
  one(
    'a follower looks for outcomes only as far as the log is visible',
    'wal/change-reader.js',
    'this.#take(place, stretch.tail)',
    'this.#take(place, stretch.visible)',
  ),
  one(
    'a follower goes on in silence after what was recycled before it had read it',
    'wal/change-reader.js',
    'if (place.after < oldest.since)',
    'if (false)',
  ),
  one(
    'a follower that comes back goes on in silence after what was recycled',
    'wal/change-reader.js',
    'if (isGone)',
    'if (within !== undefined && within < oldest.start)',
  ),
  one(
    'a segment says that nothing changed before it',
    'wal/log.js',
    'startLsn, limitLsn, changedLsn }',
    'startLsn, limitLsn, changedLsn: 0 }',
  ),
  one(
    'a checkpoint keeps nothing for those who follow the log',
    'engine/checkpoint/checkpointer.js',
    'const kept = retainedFrom(',
    'const kept = ((...all) => Math.max(lsn, retainedFrom(...all)))(',
  ),
  one(
    'a clean close keeps nothing for those who follow the log',
    'engine/lifecycle/close.js',
    'if (from < tail)',
    'if (false)',
  ),
  one(
    'how much of the log is kept is forgotten with the life of the database',
    'engine/lifecycle/format-control.js',
    'control.retention = header.retention;',
    '',
  ),
  ...EXPIRY_MUTANTS,
  // ---- named stores
  one(
    'a drop counts before its frame does',
    'engine/commit/log-tail.js',
    'this.#write(frame);\n        if (needs.isDropping)\n            a.storesGeneration++;',
    'if (needs.isDropping) { a.storesGeneration++; control.append.publish(a); }\n        this.#write(frame);',
  ),
  one(
    'a writer looks for its store in a tree that is older than the count of drops',
    'engine/stores/stores.js',
    'committer.catchUp(tailLsn);',
    ';',
  ),
]
