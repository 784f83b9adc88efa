// Values that are looked at and not kept.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { closeSync, constants, openSync, readSync, write } from 'node:fs'
import { markAsUntransferable } from 'node:worker_threads'
import { open, type Database } from '../../src/index.js'
import { cleanUp, expectError, scratchPath } from '../support/engine.js'
import { collectGarbage } from '../support/storage.js'

const LENGTHS = [0, 1, 100, 900, 3000, 100_000]

describe('a view of a value', function () {
  afterEach(cleanUp)

  let db: Database<Buffer, number>
  beforeEach(async () => {
    db = await open<Buffer, number>(scratchPath(), { valueEncoding: 'binary', workers: 0 })
    db.batchSync(LENGTHS.map((length) => ({ type: 'put', key: length, value: Buffer.alloc(length, length) })))
  })
  afterEach(() => db.close())

  for (const of of ['database', 'snapshot'] as const) {
    it(`of a ${of} has its bytes until the function returns, and is empty then`, () => {
      using snapshot = db.snapshot()
      const source = of === 'database' ? db : snapshot
      for (const length of LENGTHS) {
        let kept: Buffer | undefined
        let part: Uint8Array | undefined
        const result = source.view(length, (bytes) => {
          expect(bytes.equals(Buffer.alloc(length, length))).to.equal(true)
          kept = bytes
          part = new Uint8Array(bytes.buffer, bytes.byteOffset, Math.min(1, length))
          return `${length}`
        })
        expect(result).to.equal(`${length}`)
        expect(kept!.length).to.equal(0)
        expect(kept![0]).to.equal(undefined)
        expect(part!.length).to.equal(0)
        expect(db.get(length)!.equals(Buffer.alloc(length, length)), 'what get returns stays').to.equal(true)
      }
    })
  }

  it('does not share memory with anything else', () => {
    // Buffers of Node.js that are this short share their memory.
    const neighbours = Array.from({ length: 50 }, (_, i) => {
      const value = Buffer.from(`neighbour ${i}`)
      db.view(100, (bytes) => bytes.fill(0))
      return value
    })
    for (const [i, value] of neighbours.entries()) expect(value.toString()).to.equal(`neighbour ${i}`)
    expect(db.get(100)!.equals(Buffer.alloc(100, 100))).to.equal(true)
  })

  it('is not made for a key that is absent', () => {
    expect(db.view(7, () => expect.fail('it was called'))).to.equal(undefined)
  })

  it('passes on what the function throws, and is empty then', () => {
    let kept: Buffer | undefined
    expect(() =>
      db.view(100, (bytes) => {
        kept = bytes
        throw new Error('mine')
      }),
    ).to.throw('mine')
    expect(kept!.length).to.equal(0)
  })

  it('is empty afterwards whatever the function does to its buffer', () => {
    const length = 5 * 1024 * 1024
    db.putSync(length, Buffer.alloc(length))
    for (const change of [
      (memory: object) => Object.freeze(memory),
      (memory: object) => Object.defineProperty(memory, 'byteLength', { value: 0 }),
    ]) {
      for (const key of [100, length]) {
        let kept: Buffer | undefined
        const result = db.view(key, (bytes) => {
          change((kept = bytes).buffer)
          return bytes.length
        })
        expect(result).to.equal(key)
        expect(kept!.length).to.equal(0)
      }
    }
  })

  it('stays whole while the function calls the database, in any way', () => {
    db.view(900, (bytes) => {
      db.putSync(900, Buffer.alloc(900, 1))
      for (let i = 0; i < 50; i++) db.putSync(i, Buffer.alloc(500, i))
      db.view(100, (other) => expect(other.equals(Buffer.alloc(100, 100))).to.equal(true))
      expect(bytes.equals(Buffer.alloc(900, 900))).to.equal(true)
    })
  })

  it('survives that the function closes the database, or transfers the memory', async () => {
    db.view(3000, (bytes) => structuredClone(bytes.buffer, { transfer: [bytes.buffer as ArrayBuffer] }))
    let closed: Promise<void> | undefined
    const length = db.view(3000, (bytes) => {
      closed = db.close()
      return bytes.length
    })
    expect(length).to.equal(3000)
    await closed
    expectError(() => db.view(3000, () => 1), 'ERR_MMAPDB_CLOSED')
  })

  it('gives its result also if the function has seen to it that its buffer cannot be taken away', () => {
    expect(db.view(100, (bytes) => markAsUntransferable(bytes.buffer))).to.equal(undefined)
    expect(db.view(100, (bytes) => bytes.equals(Buffer.alloc(100, 100)))).to.equal(true)
  })

  it('is not freed while another thread still reads it, although it must not be handed to any', async () => {
    const length = 8 * 1024 * 1024
    const value = Buffer.alloc(length, 'a long value ')
    db.putSync(length, value)
    // A pipe takes a little of it at a time, and no more until that has been read.
    const path = scratchPath()
    spawnSync('mkfifo', [path])
    const from = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK)
    const to = openSync(path, 'w')
    let written: unknown
    db.view(length, (bytes) => write(to, bytes, (error, count) => (written = error?.code ?? count)))
    for (let i = 0; i < 5; i++) await collectGarbage()
    const read = Buffer.alloc(length)
    let at = 0
    while (written === undefined || (written === length && at < length)) {
      await new Promise(setImmediate)
      try {
        at += readSync(from, read, at, length - at, null)
      } catch (error) {
        expect(error, 'there is nothing to be read yet').to.have.property('code', 'EAGAIN')
      }
    }
    expect(written).to.equal(length)
    expect(read.equals(value)).to.equal(true)
    for (const fd of [from, to]) closeSync(fd)
  })

  it('takes a function, and none that is asynchronous', () => {
    expectError(() => db.view(100, 'no' as never), 'ERR_MMAPDB_INVALID', /takes a function/)
    expectError(
      () => db.view(100, async () => Promise.reject(new Error('later'))),
      'ERR_MMAPDB_INVALID',
      /asynchronous/,
    )
  })

  it('is what the value encoding makes of the value', async () => {
    const texts = await open<string, string>(scratchPath(), { valueEncoding: 'utf8', workers: 0 })
    texts.putSync('key', 'Grüße')
    expect(texts.view('key', (bytes) => bytes.toString())).to.equal('Grüße')
    await texts.close()
  })
})
