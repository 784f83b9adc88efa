// How often a leader looks whether the files are where others find them.
import { expect } from 'chai'
import { FilesWatch } from '../../../src/engine/shared/files-in-place.js'
import { STATE, newState } from '../../../src/engine/shared/control.js'
import { cleanUp, expectError, openEngine, scratchPath, TINY } from '../../support/engine.js'

describe('the look whether files are in place', () => {
  afterEach(cleanUp)

  /** A watch with a clock and looks of the test's own. */
  function watched() {
    const { control, log, space, dataFile, committer } = openEngine(scratchPath(), TINY).parts
    const seen = { looks: 0, nowMs: 1000, isThere: true }
    const itsDataFile = {
      path: dataFile.path,
      isInPlace: () => {
        seen.looks++
        return seen.isThere
      },
    }
    const watch = new FilesWatch({ control, log, space, dataFile: itsDataFile as never }, () => seen.nowMs)
    const append = committer.logEnd()
    const number = control.readState(newState())[STATE.CHECKPOINT_NUMBER]!
    return { seen, append, watch, check: () => watch.assertInPlace(append, number), number }
  }

  it('is repeated after two milliseconds, and not for each group', () => {
    const { seen, check } = watched()
    check()
    check()
    seen.nowMs += 1.9
    check()
    expect(seen.looks).to.equal(1)
    seen.nowMs += 0.2
    check()
    expect(seen.looks).to.equal(2)
  })

  it('is repeated at once when the log goes on in another segment', () => {
    const { seen, watch, append, number, check } = watched()
    check()
    expectError(
      () => watch.assertInPlace({ ...append, segmentStartLsn: append.segmentStartLsn + 8 }, number),
      'ERR_MMAPDB_CORRUPT',
    )
    check()
    expect(seen.looks, 'one that has failed counts for nothing').to.equal(2)
  })

  it('is repeated at once after one that has found a file missing', () => {
    const { seen, check } = watched()
    check()
    seen.isThere = false
    check()
    seen.nowMs += 2
    expectError(check, 'ERR_MMAPDB_CORRUPT', /removed or replaced/)
    expectError(check, 'ERR_MMAPDB_CORRUPT', /removed or replaced/)
    seen.isThere = true
    check()
    expect(seen.looks).to.equal(4)
  })
})
