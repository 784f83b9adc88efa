// Calls that find the stack used up just where they ask for a microtask, which takes more of it than what is around
// it. If this failed, a program that catches the error would wait for ever for whatever it asks for next, or have
// written what it was told it had not.
import { expect } from 'chai'
import { open, type Database } from '../../src/index.js'
import { cleanUp, scratchPath } from '../support/engine.js'

/** Keys that are looked up by a worker. */
const KEYS = Array.from({ length: 100 }, (_, i) => i)

/** What `act` comes to if the first microtask that it asks for cannot be had. */
async function outOfStack(act: () => Promise<unknown>): Promise<string> {
  const { queueMicrotask } = globalThis
  globalThis.queueMicrotask = () => {
    globalThis.queueMicrotask = queueMicrotask
    throw new RangeError('Maximum call stack size exceeded')
  }
  try {
    return await act().then(
      () => 'done',
      (error: Error) => error.name,
    )
  } finally {
    globalThis.queueMicrotask = queueMicrotask
  }
}

describe('a stack that is used up', () => {
  afterEach(cleanUp)

  let db: Database<number>
  beforeEach(async () => {
    db = await open<number>(scratchPath(), { workers: 1 })
    await db.put('there', 1)
  })
  afterEach(() => db.close())

  it('refuses a write, which is not made then, and none after it', async () => {
    expect(await outOfStack(() => db.put('refused', 1))).to.equal('RangeError')
    await db.put('later', 2)
    expect(db.get('later')).to.equal(2)
    expect(db.has('refused')).to.equal(false)
  })

  for (const call of ['getMany', 'hasMany'] as const) {
    it(`refuses ${call}, and none after it`, async () => {
      expect(await outOfStack(() => db[call](KEYS))).to.equal('IoError')
      expect(await db[call](KEYS)).to.have.length(KEYS.length)
    })
  }
})
