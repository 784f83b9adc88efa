// The checksum of everything on disk. If it differed from one machine to another, a database could not move.
import { createRequire } from 'node:module'
import { expect } from 'chai'
import { crc32c } from '../../src/encoding/crc32c.js'

const inJavaScript = (createRequire(import.meta.url)('fast-crc32c/impls/js_crc32c.js') as { calculate: typeof crc32c })
  .calculate

describe('CRC-32C', () => {
  it('is the known one', () => {
    expect(crc32c(Buffer.from('123456789'))).to.equal(0xe3069283)
    expect(crc32c(Buffer.alloc(32))).to.equal(0x8a9136aa)
    expect(crc32c(Buffer.alloc(0))).to.equal(0)
  })

  it('comes out the same by the instruction and by the table, for every length and beginning', () => {
    const bytes = Buffer.from(Array.from({ length: 300 }, (_, i) => (i * 131) ^ (i >> 3)))
    for (let from = 0; from < 9; from++) {
      for (let to = from; to <= bytes.length; to += 1 + (to % 5)) {
        const part = bytes.subarray(from, to)
        for (const initial of [0, 1, 0x7fffffff, 0xfffffffe]) {
          expect(crc32c(part, initial), `${from}-${to}, ${initial}`).to.equal(inJavaScript(part, initial))
        }
      }
    }
  })

  it('goes on where it stopped', () => {
    const bytes = Buffer.from('what was flushed is there')
    for (let i = 0; i <= bytes.length; i++)
      expect(crc32c(bytes.subarray(i), crc32c(bytes.subarray(0, i)))).to.equal(crc32c(bytes))
  })
})
