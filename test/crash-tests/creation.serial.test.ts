// A process that dies while it makes a database leaves nothing that has to be repaired.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { CrashPoint } from '../../src/crash-points.js'
import { SLOT_BYTES } from '../../src/engine/format/layout.js'
import { cleanUp, expectError, expectSound, inProcess, openEngine, scratchPath, TINY } from '../support/engine.js'
import { BIN } from '../../src/package-root.js'

describe('a creation that was cut short', function () {
  this.timeout(60_000)
  afterEach(cleanUp)

  const points: CrashPoint[] = ['segment-created', 'segment-linked']
  for (const point of points) {
    it(`at ${point} is no damage: there is no database yet, and the next writer makes it`, async () => {
      const path = scratchPath()
      expect(await inProcess(path, 'open()', TINY, { MMAPDB_CRASH_AT: point }).ended).to.equal('SIGKILL')
      expect(existsSync(path)).to.equal(true)
      expectError(() => openEngine(path, { ...TINY, createIfMissing: false }), 'ERR_MMAPDB_NOT_FOUND', /cut short/)
      expectError(() => openEngine(path, { ...TINY, readOnly: true }), 'ERR_MMAPDB_NOT_FOUND', /cut short/)
      for (const command of ['recover', 'verify', 'stats']) {
        expect(spawnSync(process.execPath, [BIN, command, '--db', path]).status, command).to.equal(2)
      }
      const engine = openEngine(path)
      engine.put('key', Buffer.from('value'))
      expectSound(engine)
    })
  }

  /**
   * A database that holds nothing, or what checkpoints have left of it since, with the headers of its creation torn.
   */
  function tornAtBirth(isEmpty: boolean, torn: (header: Buffer, twin: Buffer) => void): string {
    const path = scratchPath()
    const engine = openEngine(path)
    if (!isEmpty) engine.put('key', Buffer.from('value'))
    engine.close()
    const data = readFileSync(join(path, 'data'))
    for (const slot of [1, 3]) data.fill(0, slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES)
    torn(data.subarray(0, SLOT_BYTES), data.subarray(2 * SLOT_BYTES, 3 * SLOT_BYTES))
    writeFileSync(join(path, 'data'), data)
    return path
  }

  const tears: Record<string, (header: Buffer, twin: Buffer) => void> = {
    'the first header is torn and the second blank': (header, twin) => (header.fill(0, 100), twin.fill(0)),
    'both are torn': (header, twin) => (header.fill(0, 0, 41), twin.fill(0, 50)),
    'the second alone is there, and torn': (header, twin) => (header.fill(0), twin.fill(0, 0, 4)),
  }
  for (const [how, torn] of Object.entries(tears)) {
    it(`in the middle of its headers is no damage either: ${how}`, () => {
      const path = tornAtBirth(true, torn)
      expectError(() => openEngine(path, { createIfMissing: false }), 'ERR_MMAPDB_NOT_FOUND', /cut short/)
      const engine = openEngine(path)
      engine.put('key', Buffer.from('value'))
      expectSound(engine)
    })

    it(`is not taken for what was once more than that: ${how}`, () => {
      const path = tornAtBirth(false, torn)
      expect(() => openEngine(path))
        .to.throw()
        .with.property('code')
        .that.is.oneOf(['ERR_MMAPDB_CORRUPT', 'ERR_MMAPDB_NOT_A_DATABASE'])
    })
  }

  it('is not seen where a header holds what no empty database has', () => {
    const path = tornAtBirth(true, (header, twin) => (header.fill(0, 0, 4), header.fill(7, 72, 73), twin.fill(0)))
    expectError(() => openEngine(path), 'ERR_MMAPDB_CORRUPT', /four headers/)
  })
})
