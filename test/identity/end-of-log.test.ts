// The end of the LSNs: after 64 PiB, so no database should reach it. If this failed, the next opener
// would not take the last segment for one, or frames would be written at positions that no field can hold.
import { expect } from 'chai'
import { readdirSync, readFileSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { findHeader } from '../../src/engine/lifecycle/find-header.js'
import { encodeHeader, headerSlots } from '../../src/engine/format/header.js'
import { posixStorage } from '../../src/storage/posix.js'
import { Log } from '../../src/wal/log.js'
import { MAX_LSN, USERS_LSN_LIMIT, type Lsn } from '../../src/wal/lsn.js'
import {
  cleanUp,
  contents,
  crashCopy,
  dataFile,
  expectError,
  expectSound,
  openEngine,
  scratchPath,
  SLOT_BYTES,
  TINY,
  writeBytes,
} from '../support/engine.js'

/** An empty database whose log begins at `lsn`. */
function databaseAt(lsn: number, segmentBytes = TINY.segmentBytes!): string {
  const path = scratchPath()
  openEngine(path).close()
  const data = readFileSync(dataFile(path))
  const { header } = findHeader((slot) => data.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES), path)
  for (const slot of headerSlots(header!.checkpointNumber)) {
    writeBytes(dataFile(path), slot * SLOT_BYTES, encodeHeader({ ...header!, lsn: lsn as Lsn }, slot))
  }
  for (const name of readdirSync(join(path, 'wal'))) rmSync(join(path, 'wal', name))
  const log = new Log({
    storage: posixStorage,
    directory: join(path, 'wal'),
    like: dataFile(path),
    uuid: header!.uuid,
    segmentBytes,
    readOnly: false,
  })
  log.createSegment(lsn as Lsn, 0)
  log.close()
  return path
}

const value = Buffer.alloc(100, 1)

describe('a log near the end of its positions', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  it('takes writes up to its limit, refuses them from then on with nothing written, and reads on', () => {
    const path = databaseAt(USERS_LSN_LIMIT - 1024)
    const engine = openEngine(path)
    let written = 0
    expectError(
      () => {
        for (; written < 1000; written++) engine.put(written, value)
      },
      'ERR_MMAPDB_FULL',
      /used up its positions.*new database.*Nothing was written/s,
    )
    expect(written).to.be.within(20, 100)
    const { tailLsn, visibleLsn } = engine.stats().log
    expect(tailLsn).to.equal(visibleLsn)
    expect(tailLsn).to.be.at.most(USERS_LSN_LIMIT)
    for (const act of [() => engine.del(0), () => engine.batch([{ type: 'put', key: 'k', value }])])
      expectError(act, 'ERR_MMAPDB_FULL')
    expect(engine.stats().failure).to.equal(undefined)
    expect(contents(engine).length).to.equal(written)
    // As a kill of all processes leaves it, and as a clean close does.
    const crashed = openEngine(crashCopy(path))
    expect(contents(crashed).length).to.equal(written)
    crashed.close()
    engine.close()
    for (let round = 0; round < 3; round++) {
      const again = openEngine(path)
      expect(contents(again).length).to.equal(written)
      expectSound(again)
      expectError(() => again.put('k', value), 'ERR_MMAPDB_FULL')
      again.close()
    }
  })

  it('takes a frame that ends just before its limit, and none that ends behind it', () => {
    const path = databaseAt(USERS_LSN_LIMIT - 64, 65536)
    const engine = openEngine(path, { ...TINY, segmentBytes: 65536 })
    expectError(() => engine.put('k', Buffer.alloc(600)), 'ERR_MMAPDB_FULL')
    engine.put('k', Buffer.alloc(300, 7))
    expect(engine.get('k')).to.deep.equal(Buffer.alloc(300, 7))
    engine.close()
    expect(openEngine(path).get('k')).to.deep.equal(Buffer.alloc(300, 7))
  })

  for (const before of [1, 8, 250, 504]) {
    it(`has a last segment that ends where the positions do, ${before} words on, and it is found again`, () => {
      const path = databaseAt(MAX_LSN - before)
      const engine = openEngine(path)
      expect(contents(engine)).to.deep.equal([])
      expectError(() => engine.put('k', value), 'ERR_MMAPDB_FULL')
      const segment = engine.parts.log.segment((MAX_LSN - before) as Lsn)
      expect(segment?.header.limitLsn).to.equal(MAX_LSN)
      engine.close()
      openEngine(path).close()
    })
  }
})
