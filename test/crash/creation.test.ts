// A process that dies while it makes a database leaves nothing that anybody has to repair.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import type { CrashPoint } from '../../src/crash-points.js'
import { cleanUp, expectError, expectSound, inProcess, openEngine, scratchPath, TINY } from '../engine/support.js'

const CLI = new URL('../../../bin/mmapdb', import.meta.url).pathname

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
        expect(spawnSync(process.execPath, [CLI, command, '--db', path]).status, command).to.equal(2)
      }
      const engine = openEngine(path)
      engine.put('key', Buffer.from('value'))
      expectSound(engine)
    })
  }
})
