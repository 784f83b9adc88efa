// The demo prints the same every time; its output is compared in full.
import { expect } from 'chai'
import { mmapdb } from '../support/cli.js'

const GOLDEN = `open: a new database, with two workers
put: 2 entries on disk and visible
get user:1: {"name":"Ada","born":1815}
get user:9: undefined
put: 100 more at once, 102 entries now
batch: one put and one delete, all or nothing: user:2 is gone, user:3 is there
snapshot: sees {"name":"Ada","born":1815}
          now  {"name":"Ada","born":1815,"died":1852}
range: users are user:1, user:3
range: the last two events are number 99, number 98
close: everything is in the data file, the log is empty
crash: another process acknowledged 5 writes; SIGKILL ended it in the middle of the next
recovery: 6 frames with 6 operations replayed, 0 torn bytes dropped
recovery: 6 entries more than before the crash: crash:1, crash:2, crash:3, crash:4, crash:5, crash:6
verify: 108 entries, no damage
OK: golden scenario completed
`

const FAILURE = `open a database that does not exist: NotFoundError ERR_MMAPDB_NOT_FOUND
  There is no database at DIR/db. Check the path; one that does not exist is created by opening it for writing with createIfMissing (on the command line: put or load).
open with a bad option: InvalidError ERR_MMAPDB_INVALID
  workers must be a whole number from 0 to 64, not -1.
open a file: NotADatabaseError ERR_MMAPDB_NOT_A_DATABASE
  DIR/file is a file; a database is a directory. Give the path of the directory.
open a directory of other files: NotADatabaseError ERR_MMAPDB_NOT_A_DATABASE
  DIR/others is not a database: it holds other files and no file named "data". Give the path of a database or, for a new one, of an empty directory or one that does not exist.
put under NaN: InvalidError ERR_MMAPDB_INVALID
  NaN cannot be a key: it has no place in the order of numbers.
put undefined: InvalidError ERR_MMAPDB_INVALID
  undefined cannot be stored: delete the key instead, or store null.
put under a key that is too long: InvalidError ERR_MMAPDB_INVALID
  A key may be at most 1024 bytes long when encoded; shorten it or store a hash of it.
a range with a negative limit: InvalidError ERR_MMAPDB_INVALID
  limit must be a whole number, 0 or more, not -1.
nothing of that was stored: 0 entries
get from a closed database: ClosedError ERR_MMAPDB_CLOSED
  The database is closed. Open it again.
put into a database opened to read: ReadOnlyError ERR_MMAPDB_READ_ONLY
  The database was opened with { readOnly: true } and cannot be written. Open it without that to write.
ERROR: invalid input or unavailable IPC resource
`

describe('mmapdb demo', function () {
  this.timeout(120_000)

  it('walks through writing, reading, a crash and recovery, the same every time', async () => {
    for (const args of [['demo', '--mode=golden'], ['demo']]) {
      expect(await mmapdb(args)).to.deep.equal({ code: 0, signal: null, stdout: GOLDEN, stderr: '' })
    }
  })

  it('shows how errors look, and ends like one', async () => {
    expect(await mmapdb(['demo', '--mode=failure'])).to.deep.equal({
      code: 2,
      signal: null,
      stdout: FAILURE,
      stderr: '',
    })
  })
})
