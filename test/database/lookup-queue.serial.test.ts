// How lists of keys share tasks: few for few, and all workers for many.
import { expect } from 'chai'
import { concatenated, type Encoded } from '../../src/encoding/packed-list.js'
import { KeySpace } from '../../src/encoding/key-space.js'
import { valueCodec } from '../../src/encoding/values/codec.js'
import { encodeKeys, ENOUGH_KEYS, LookupQueue } from '../../src/database/lookup-queue.js'

const LIST = 10

/** Looks nothing up: answers with the keys themselves, when it is told to. */
class Workers {
  readonly tasks: { keys: number; answer: () => void }[] = []
  readonly run = (keys: Encoded): Promise<Encoded> =>
    new Promise((resolve) => this.tasks.push({ keys: keys.lengths.length, answer: () => resolve(keys) }))
}

const SPACE = new KeySpace(valueCodec('msgpack'))

const ask = (lookups: LookupQueue, lists: number): Promise<Encoded[]> =>
  Promise.all(
    Array.from({ length: lists }, (_, n) =>
      lookups.get(
        encodeKeys(
          Array.from({ length: LIST }, (__, i) => n * LIST + i),
          'getMany',
          SPACE,
        ),
      ),
    ),
  )
const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('lists of keys', () => {
  it('share one task if they are few', async () => {
    const workers = new Workers()
    const found = ask(new LookupQueue(workers.run, 4, 30_000), 8)
    await settled()
    expect(workers.tasks.map((task) => task.keys)).to.deep.equal([8 * LIST])
    workers.tasks[0]!.answer()
    expect((await found).map(({ lengths }) => lengths.length)).to.deep.equal(Array.from({ length: 8 }, () => LIST))
  })

  it('occupy every worker and no more if they are many, and wait for the next one that is free', async () => {
    const workers = new Workers()
    const found = ask(new LookupQueue(workers.run, 3, 30_000), 200)
    await settled()
    expect(workers.tasks).to.have.length(3)
    for (let done = 0; done < workers.tasks.length; done++) {
      workers.tasks[done]!.answer()
      await settled()
      expect(workers.tasks.length - done - 1).to.be.at.most(3)
    }
    expect(workers.tasks.reduce((sum, task) => sum + task.keys, 0)).to.equal(200 * LIST)
    for (const { keys } of workers.tasks) expect(keys).to.be.below(ENOUGH_KEYS + LIST)
    const values = (await found).flatMap(({ bytes, lengths }) => {
      let at = 0
      return Array.from(lengths, (length) => Buffer.from(bytes.slice(at, (at += length))).toString('hex'))
    })
    expect(new Set(values).size).to.equal(200 * LIST)
  })

  it('are refused if what was found is longer than any piece of memory', () => {
    expect(() => concatenated([{ length: 2 ** 53 } as Uint8Array]))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_INVALID')
  })
})
