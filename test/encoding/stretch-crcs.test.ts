// CRCs of stretches of a file, beside the CRC of the same bytes in one piece.
import { join } from 'node:path'
import { writeFileSync } from 'node:fs'
import { expect } from 'chai'
import { crc32c } from '../../src/encoding/crc32c.js'
import { StretchCrcs } from '../../src/encoding/stretch-crcs.js'
import { posixStorage } from '../../src/storage/posix.js'
import { Random } from '../../crash-tests/lib/random.js'
import { cleanUp, scratchDirectory } from '../support/engine.js'

describe('the CRCs of stretches', () => {
  afterEach(cleanUp)

  it('are those of their bytes, wherever they begin and end, one after the other or overlapping', () => {
    const random = new Random(1)
    const bytes = Buffer.from(Array.from({ length: 20_000 }, () => random.between(0, 255)))
    const path = join(scratchDirectory(), 'file')
    writeFileSync(path, bytes)
    const file = posixStorage.openFile(path, 'read')
    for (const begin of [0, 72, 1024]) {
      const crcs = new StretchCrcs(file, begin, bytes.length)
      for (let i = 0; i < 2000; i++) {
        const from = random.chance(0.1) ? begin : random.between(begin, bytes.length)
        const to = random.chance(0.1) ? bytes.length : random.between(from, bytes.length)
        const salt = random.between(0, 2 ** 32 - 1)
        expect(crcs.crc(from, to, salt), `${begin}: ${from} to ${to}`).to.equal(crc32c(bytes.subarray(from, to), salt))
      }
    }
    file.close()
  })

  it('are not known where the file does not reach', () => {
    const path = join(scratchDirectory(), 'file')
    writeFileSync(path, Buffer.alloc(5000))
    const file = posixStorage.openFile(path, 'read')
    const crcs = new StretchCrcs(file, 64, 1e9)
    expect(crcs.crc(64, 5000, 7)).to.equal(crc32c(Buffer.alloc(4936), 7))
    expect(crcs.crc(64, 5001, 7)).to.equal(undefined)
    expect(crcs.crc(63, 100, 7)).to.equal(undefined)
    file.close()
  })
})
