// Makes the fixture of the present format, test/fixtures/format-N: `node dist/test/support/make-fixture.js`, after
// `npm run build`. Run it once for each new FORMAT_VERSION, and commit what it makes together with the new format. It
// refuses to replace a fixture: that is only right while a format has not been released.
//
// Each database is written by a process of its own, which then closes it or kills itself.
import { spawnSync } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { VALUE_ENCODINGS, type ValueEncoding } from '../../src/encoding/values/codec.js'
import { Engine } from '../../src/engine/engine.js'
import { FORMAT_VERSION } from '../../src/engine/format/header.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { compiledFile } from '../../src/package-root.js'
import { posixStorage } from '../../src/storage/posix.js'
import { ENDINGS, fixtureContent, type Ending } from './fixture-content.js'
import { fixturesOf, folderOf, pack, type Made } from './fixture-files.js'
import { writeStoresAfter, writeStoresBefore } from './fixture-stores.js'

/** Several segments, and no checkpoint but those that are asked for. */
const OPTIONS: OpenOptions = { workers: 0, segmentBytes: 64 * 1024, checkpointBytes: 1024 * 1024 * 1024 }
/** With so little log between checkpoints no free list is small: the next checkpoint adds to it. */
const ADDING: OpenOptions = { ...OPTIONS, checkpointBytes: 64 * 1024 }

/** In the process that writes. */
function write(path: string, encoding: ValueEncoding, ending: Ending): void {
  const engine = Engine.open(resolveOptions(path, { ...OPTIONS, valueEncoding: encoding }), posixStorage)
  const { beforeCheckpoint, afterCheckpoint } = fixtureContent(encoding, ending)
  for (const batch of beforeCheckpoint) engine.batch(batch)
  engine.checkpoint(true)
  engine.batch(beforeCheckpoint[0]!)
  writeStoresBefore(engine)
  const adding = Engine.open(resolveOptions(path, ADDING), posixStorage)
  adding.checkpoint(true)
  adding.close()
  const before = engine.stats().commits
  for (const batch of afterCheckpoint) engine.batch(batch)
  writeStoresAfter(engine)
  const stats = engine.stats()
  const made: Made = {
    uuid: stats.uuid,
    entries: stats.entries,
    height: stats.height,
    slots: stats.slots,
    checkpointNumber: stats.checkpoint.number,
    segments: stats.log.segments,
    replay: {
      fromLsn: stats.checkpoint.lsn,
      toLsn: stats.log.tailLsn,
      frames: stats.commits.frames - before.frames,
      operations: stats.commits.operations - before.operations,
    },
    versions: [...engine.range(undefined, 'keys')].map((key) => engine.getEntry(key as never)!.version),
  }
  writeFileSync(`${path}.made`, JSON.stringify(made))
  if (ending === 'killed') process.kill(process.pid, 'SIGKILL')
  engine.close()
}

function make(encoding: ValueEncoding, ending: Ending): void {
  const scratch = mkdtempSync(join(tmpdir(), 'mmapdb-fixture-'))
  try {
    const path = join(scratch, 'db')
    const { status, signal } = spawnSync(
      process.execPath,
      [compiledFile('test/support/make-fixture.js'), path, encoding, ending],
      { stdio: 'inherit' },
    )
    if (ending === 'closed' ? status !== 0 : signal !== 'SIGKILL')
      throw new Error(`${encoding}, ${ending}: not written`)
    pack(path, folderOf(FORMAT_VERSION, encoding, ending), JSON.parse(readFileSync(`${path}.made`, 'utf8')) as Made)
  } finally {
    rmSync(scratch, { recursive: true })
  }
}

const [path, encoding, ending] = process.argv.slice(2)
if (path !== undefined) write(path, encoding as ValueEncoding, ending as Ending)
else if (existsSync(fixturesOf(FORMAT_VERSION)))
  throw new Error(`${fixturesOf(FORMAT_VERSION)} is there already. Remove it if its format was never released.`)
else for (const each of VALUE_ENCODINGS) for (const how of ENDINGS) make(each, how)
