// Safeguards of the log's files, and of reading them: where the log ends, and that nothing is passed over.
import { one, type TestedMutant } from './tested-mutant.js'

const LOG_READER = 'wal/log-reader'
const IN_A_ROW = 'faults/crashes-in-a-row'

export const LOG_MUTANTS: readonly TestedMutant[] = [
  one(
    'a follower that has read everything is told that something is gone while the log is being moved',
    ['wal/change-reader', 'while the only segment is being moved'],
    'wal/change-reader.js',
    'Math.min(start - 1, newestChange())',
    'start - 1',
  ),
  one(
    'a segment that was moved gets its header before its new name is on disk',
    [IN_A_ROW, 'in the middle of moving the last segment of the log'],
    'wal/log.js',
    'if (!isMissing && left === undefined)\n            this.#flushDirectory();',
    '',
  ),
  one(
    'the first opener does not flush the name of the data file',
    [IN_A_ROW, 'in the middle of creating a database'],
    'engine/lifecycle/settle-names.js',
    'flushParent(storage, data);',
    '',
  ),
  one(
    'the first opener does not flush the name of the directory',
    [IN_A_ROW, 'others rely on it: that of a backup'],
    'engine/lifecycle/settle-names.js',
    'flushParent(world, directory);',
    '',
  ),
  one(
    'the data file of a compaction has a name on which others rely before it is on disk',
    [IN_A_ROW, 'others rely on it: that of a data file that was compacted'],
    'maintenance/compact.js',
    'unsettleNames(storage, paths);',
    '',
  ),
  one(
    'what is restored has a name on which others rely before it is on disk',
    [IN_A_ROW, 'others rely on it: that of what was restored'],
    'maintenance/unfinished.js',
    'unsettleNames(this.#storage, this.paths);',
    '',
  ),
  one(
    'a database is created without flushing its names if there is a control file of an earlier one',
    [IN_A_ROW, 'beside the control file of one that was removed'],
    'engine/lifecycle/settle-names.js',
    "isDatabase && storage.info(control).kind !== 'missing'",
    "storage.info(control).kind !== 'missing'",
  ),
  one(
    'a segment that was never finished keeps the log from being recycled by its age',
    [IN_A_ROW, 'recycled by its age'],
    'wal/retention.js',
    'if (segment === undefined)\n            continue;',
    'if (segment === undefined)\n            break;',
  ),
  one(
    'on a full disk, the last segment is moved away from older ones that a writer has not read yet',
    ['faults/full-disk', 'tells a feed what is gone'],
    'engine/checkpoint/make-room.js',
    'checkpointer.releaseUnread() > 0 ||',
    '',
  ),
  one(
    'a segment without its header is taken for one that was never finished, if its first frame is gone, too',
    [LOG_READER, 'is rot when the beginning of the newest segment is gone'],
    'wal/log-end.js',
    'return possibleFrames(file, start, start, NO_LIMIT).next().done !== true;',
    'return false;',
  ),
  one(
    'a segment without its header is taken for one that was never finished, if its only frame has no possible length',
    [LOG_READER, 'is rot when the beginning of the newest segment is gone'],
    'wal/log-end.js',
    'if (firstFrameLsn(file) === start)\n            return true;',
    '',
  ),
  one(
    'a file that is too short for a header is opened to look for frames, though this user may not read it',
    [LOG_READER, 'too short for a header'],
    'wal/log-end.js',
    ' || sizeBytes <= SEGMENT_HEADER_BYTES)',
    ')',
  ),
  one(
    'what is in the buffer of a reader is taken for what is in the file',
    [LOG_READER, 'asked too early'],
    'wal/log-reader.js',
    'this.#hasRead = false;\n        if',
    'if',
  ),
  one(
    'a reader does not look for a newer segment where it has just read nothing',
    [LOG_READER, 'is followed by one in a newer segment'],
    'wal/log-reader.js',
    'before.hasRead && isSame',
    'before.hasRead',
  ),
  one(
    'the search for frames after the end of the log passes over the border of two chunks',
    [LOG_READER, 'is rot when a frame follows that proves it, wherever that begins'],
    'wal/frame-search.js',
    'lsn = lsnAfter(lsn, CHUNK_BYTES)',
    'lsn = lsnAfter(lsn, CHUNK_BYTES + 64)',
  ),
  one(
    'a frame after the end of the log is checked without the salt of its segment',
    [LOG_READER, 'is rot when a frame follows that proves it, wherever that begins'],
    'wal/log-end.js',
    'at + lengthBytes, salt)',
    'at + lengthBytes, 0)',
  ),
]
