// Safeguards of backups, restores, compaction, dumps, and against copies that were made by hand.
import { one, type Test, type TestedMutant } from './tested-mutant.js'

const READ_BACK: Test = ['maintenance/backup', 'is read back before it counts']
const BACKUP_CUT: Test = ['faults/copies', 'a backup where things go wrong is whole or absent after a power cut']
const NO_OTHER_LOG: Test = ['maintenance/restore', 'replays no other log']
const OTHER_HISTORY: Test = ['maintenance/restore', 'notices that the source was put back']
const ITS_OWN: Test = ['maintenance/restore', 'makes a database of its own']

export const COPY_MUTANTS: readonly TestedMutant[] = [
  one(
    'a backup is not read back',
    READ_BACK,
    'maintenance/backup.js',
    'yield* checkCopy(storage, unfinished',
    'checkCopy(storage, unfinished',
  ),
  one(
    'a backup is not compared with what was read from its source',
    READ_BACK,
    'maintenance/file-tree.js',
    'if (digest !== undefined && found.value !== digest)',
    'if (false)',
  ),
  one(
    'the headers of a backup are not flushed before it gets its name',
    BACKUP_CUT,
    'maintenance/slot-file.js',
    'slot * SLOT_BYTES);\n            this.#file.flush();',
    'slot * SLOT_BYTES);',
  ),
  one(
    'the directory of a backup is not flushed before it gets its name',
    BACKUP_CUT,
    'maintenance/unfinished.js',
    'this.#storage.flushDirectory(directory);',
    '',
  ),
  one(
    'a backup counts before its name is on disk',
    BACKUP_CUT,
    'maintenance/unfinished.js',
    'flushParent(this.#storage, this.#target);',
    '',
  ),
  one(
    'a backup is made where there is something',
    ['maintenance/backup', 'is refused where there is something'],
    'maintenance/unfinished.js',
    "if (storage.info(target).kind === 'missing' && !namesIn(storage, dirname(target)).includes(basename(target)))",
    'if (true)',
  ),
  one(
    'two make the same backup at once',
    ['maintenance/backup', 'is made by one at a time'],
    'maintenance/unfinished.js',
    "if (!locks.tryLock(LOCK.MAKING, 'exclusive'))",
    "if (!locks.tryLock(LOCK.MAKING, 'shared'))",
  ),
  one(
    'a backup that is ended leaves what it has made',
    ['maintenance/backup', 'leaves nothing, at whatever step it is ended'],
    'maintenance/backup.js',
    'if (!isDone)',
    'if (false)',
  ),
  one(
    'frames are replayed onto a backup that was written to',
    NO_OTHER_LOG,
    'maintenance/restore.js',
    'if (isOwn && header.lsn === record.lsn && !hasFrames(storage, wal, header))',
    'if (isOwn)',
  ),
  one(
    'a log is replayed that has gone another way since the backup',
    OTHER_HISTORY,
    'maintenance/lineage.js',
    'if (isSame)',
    'if (true)',
  ),
  one(
    'the frame before a backup is not compared',
    OTHER_HISTORY,
    'maintenance/lineage.js',
    '(lastFrame === undefined || hasFrame(log, now, lastFrame))',
    'true',
  ),
  one(
    'what is restored has the UUID of the backup',
    ITS_OWN,
    'maintenance/restore.js',
    'uuid: Buffer.from(storage.randomBytes(16))',
    'uuid: header.uuid',
  ),
  one(
    'a backup has the UUID of its source',
    ITS_OWN,
    'maintenance/backup.js',
    "Buffer.from(storage.randomBytes(16)).toString('hex')",
    "log.uuid.toString('hex')",
  ),
  one(
    'what was restored is not verified',
    ['maintenance/restore', 'refuses a damaged backup'],
    'maintenance/restore.js',
    'const entries = yield* checked(storage, unfinished.paths.directory, options)',
    'const entries = 0',
  ),
  one(
    'a restore cannot be ended while it verifies',
    ['maintenance/restore', 'leaves nothing, at whatever step it is ended'],
    'maintenance/restore.js',
    "yield { phase: 'verifying', done: step.done ? total : step.value, total };",
    ';',
  ),
  one(
    'a gap in the log is taken for its end',
    ['maintenance/restore', 'names what the log has'],
    'maintenance/log-copy.js',
    'classifyEnd(this.#log, at, this.#segmentAt(at));',
    '',
  ),
  one(
    'a compacted file takes its place before its headers are on disk',
    ['faults/compact', 'leaves the old file or the new one after a power cut'],
    'maintenance/compact.js',
    'out.writeHeader(compacted);\n        unsettleNames(storage, paths);\n        storage.rename(path, paths.data);',
    'unsettleNames(storage, paths);\n        storage.rename(path, paths.data);\n        out.writeHeader(compacted);',
  ),
  one(
    'a database is compacted while others open it',
    ['maintenance/compact', 'is refused while the database is open'],
    'maintenance/compact.js',
    "if (!locks.tryLock(LOCK.OPEN, 'exclusive') || !locks.tryLock(LOCK.ATTACHED, 'exclusive'))",
    'if (false)',
  ),
  one(
    'a segment that was being made is taken for a sign of files that do not fit',
    ['identity/copied', 'whose newest segment was being made'],
    'engine/lifecycle/copied.js',
    ' || log.starts().at(-1) > newest.startLsn',
    '',
  ),
  one(
    'damage in old parts of the log is taken for a sign of files that do not fit',
    ['identity/copied', 'damage in parts that its data file includes'],
    'engine/lifecycle/copied.js',
    'return classifyEnd(log, reader.position, log.segment(startLsn)).tornBytes === 0;',
    'return true;',
  ),
  one(
    'a data file that is newer than its log is taken',
    ['identity/copied', 'is refused if its log is older'],
    'engine/lifecycle/copied.js',
    'if (!endsBefore)',
    'if (true)',
  ),
  one(
    'a copy that was made by hand is not named',
    ['identity/copied', 'is named so by recovery'],
    'engine/lifecycle/copied.js',
    'recorded !== undefined && recorded !== file.identity().inode',
    'false',
  ),
  one(
    'the notation of a value is taken for exact',
    ['database/dump', 'byte by byte: msgpack'],
    'encoding/dump-lines.js',
    'return again && bytes.equals(again) ? `"value"',
    'return text ? `"value"',
  ),
  one(
    'a dump that was changed is taken',
    ['database/dump', 'that was cut short or changed'],
    'encoding/dump-lines.js',
    'if (entries === this.#entries && crc === this.#crc.hex)',
    'if (true)',
  ),
]
