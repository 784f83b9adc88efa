// The anomalies that transactions exclude. Each has a test in which one transaction is held at a point while another
// commits; without its safeguard (crash-tests/sim/tested-mutants.ts) that test fails. And what must not be taken for a
// conflict.
import { join } from 'node:path'
import { expect } from 'chai'
import { open, type Database, type Transaction } from '../../src/index.js'
import { eachHasDatabase, failureOf, gate, interleaved } from '../support/interleaving.js'

describe('transactions that meet others', function () {
  this.timeout(60_000)
  let directory: string
  let db: Database

  eachHasDatabase((its, path) => {
    db = its
    directory = path
  })

  describe('exclude', () => {
    it('lost updates: what is written follows from what was there', async () => {
      await db.put('n', 10)
      const runs = await interleaved(
        db,
        async (tx, hold) => {
          const n = tx.get('n') as number
          await hold()
          tx.put('n', n + 1)
        },
        () => db.transaction((tx) => tx.put('n', (tx.get('n') as number) + 5)),
      )
      expect(db.get('n')).to.equal(16)
      expect(runs).to.equal(2)
    })

    it('dirty reads: nobody sees what is not committed, and what is given up was never there', async () => {
      const held = gate()
      const goOn = gate()
      const given = db.transaction(async (tx) => {
        tx.put('a', 1)
        held.open()
        await goOn.reached
        throw new Error('given up')
      })
      await held.reached
      expect(db.get('a')).to.equal(undefined)
      expect(await db.transaction((tx) => [tx.get('a'), ...tx.keys()])).to.deep.equal([undefined])
      goOn.open()
      expect((await failureOf(() => given)).message).to.equal('given up')
      expect(db.get('a')).to.equal(undefined)
    })

    it('non-repeatable reads: a key has one value for the whole transaction', async () => {
      await db.put('a', 1)
      const seen: unknown[] = []
      const runs = await interleaved(
        db,
        async (tx, hold) => {
          seen.push(tx.get('a'))
          await hold()
          seen.push(tx.get('a'), [...tx.values()])
        },
        () => db.put('a', 2),
      )
      expect(seen).to.deep.equal([1, 1, [1]])
      expect(runs, 'it writes nothing, so there is nothing to run again').to.equal(1)
    })

    it('read skew: all that it reads is of one moment', async () => {
      await db.batch([
        { type: 'put', key: 'a', value: 50 },
        { type: 'put', key: 'b', value: 50 },
      ])
      let sum = 0
      await interleaved(
        db,
        async (tx, hold) => {
          const a = tx.get('a') as number
          await hold()
          sum = a + (tx.get('b') as number)
        },
        () =>
          db.transaction((tx) => {
            tx.put('a', 0)
            tx.put('b', 100)
          }),
      )
      expect(sum).to.equal(100)
    })

    it('write skew: what it has read and not written must still be so', async () => {
      // One of the two must stay on call.
      await db.batch([
        { type: 'put', key: 'ada', value: 'on call' },
        { type: 'put', key: 'bob', value: 'on call' },
      ])
      const leave = (tx: Transaction, who: string, other: string): void => {
        if (tx.get(other) === 'on call') tx.put(who, 'free')
      }
      const runs = await interleaved(
        db,
        async (tx, hold) => {
          leave(tx, 'ada', 'bob')
          await hold()
        },
        () => db.transaction((tx) => leave(tx, 'bob', 'ada')),
      )
      expect([db.get('ada'), db.get('bob')]).to.deep.equal(['on call', 'free'])
      expect(runs).to.equal(2)
    })

    it('write skew where only the presence was asked', async () => {
      await db.put('a', 1)
      const runs = await interleaved(
        db,
        async (tx, hold) => {
          if (tx.has('a') && !tx.has('b')) tx.put('c', 1)
          await hold()
        },
        () => db.del('a'),
      )
      expect([db.has('c'), runs]).to.deep.equal([false, 2])
      await interleaved(
        db,
        async (tx, hold) => {
          if (!tx.has('b')) tx.put('d', 1)
          await hold()
        },
        () => db.put('b', 1),
      )
      expect(db.has('d')).to.equal(false)
    })

    const BOOKING = { prefix: ['room', 1] }
    const book = async (tx: Transaction, hold: () => Promise<void>, who: string): Promise<void> => {
      const isFree = [...tx.keys(BOOKING)].length < 2
      await hold()
      if (isFree) tx.put(['room', 1, who], true)
    }

    it('phantoms: a range that it has read gets no entry more', async () => {
      await db.put(['room', 1, 'ada'], true)
      const runs = await interleaved(
        db,
        (tx, hold) => book(tx, hold, 'bob'),
        () => db.transaction((tx) => book(tx, () => Promise.resolve(), 'eve')),
      )
      expect([...db.keys(BOOKING)].map((key) => (key as string[])[2])).to.deep.equal(['ada', 'eve'])
      expect(runs).to.equal(2)
    })

    it('phantoms: a range that it has read loses no entry', async () => {
      await db.put(['room', 1, 'ada'], true)
      await db.put(['room', 1, 'bob'], true)
      const runs = await interleaved(
        db,
        async (tx, hold) => {
          const count = tx.count(BOOKING)
          await hold()
          tx.put('booked', count)
        },
        () => db.del(['room', 1, 'bob']),
      )
      expect([db.get('booked'), runs]).to.deep.equal([1, 2])
    })

    it('phantoms: a range that it has read keeps its values', async () => {
      await db.put('v1', 1)
      await db.put('v2', 2)
      const total = async (tx: Transaction, hold: () => Promise<void>): Promise<void> => {
        let sum = 0
        for (const value of tx.values({ prefix: 'v' })) sum += value as number
        await hold()
        tx.put('sum', sum)
      }
      expect(await interleaved(db, total, () => db.put('v1', 10))).to.equal(2)
      expect(db.get('sum')).to.equal(12)
      // One more and one less are as many as before.
      const swap = (): Promise<boolean> =>
        db.batch([
          { type: 'del', key: 'v1' },
          { type: 'put', key: 'v3', value: 30 },
        ])
      expect(await interleaved(db, total, swap)).to.equal(2)
      expect(db.get('sum')).to.equal(32)
      // Removed, and put again as it was.
      const again = async (): Promise<void> => {
        await db.del('v2')
        await db.put('v2', 2)
      }
      expect(await interleaved(db, total, again)).to.equal(2)
    })
  })

  it('take turns where they change the same key, so that none runs in vain twice', async () => {
    const other = await open(join(directory, 'db'), { workers: 1 })
    await Promise.all(
      Array.from({ length: 16 }, async (_, i) => {
        for (let n = 0; n < 10; n++)
          await (i % 2 === 0 ? db : other).transaction((tx) => tx.put('n', ((tx.get('n') as number) ?? 0) + 1), {
            retries: 1,
          })
      }),
    )
    expect(db.get('n')).to.equal(160)
    await other.close()
  })

  describe('do not conflict', () => {
    beforeEach(() => db.batch([1, 2, 3, 4, 5].map((n) => ({ type: 'put', key: n, value: n }))))

    const runsOf = (
      reads: (tx: Transaction) => unknown,
      other: () => Promise<unknown>,
      writes: (tx: Transaction) => unknown = (tx) => tx.put('out', 1),
    ): Promise<number> =>
      interleaved(
        db,
        async (tx, hold) => {
          reads(tx)
          writes(tx)
          await hold()
        },
        other,
      )

    it('with what they have not read', async () => {
      const first = (tx: Transaction, reverse: boolean): void => {
        for (const key of tx.keys({ reverse, gte: 1, lte: 5 })) if (key === (reverse ? 4 : 2)) break
      }
      expect(
        await runsOf(
          (tx) => first(tx, false),
          () => db.put(2.5, 0),
        ),
        'left early',
      ).to.equal(1)
      expect(
        await runsOf(
          (tx) => first(tx, false),
          () => db.put(1.5, 0),
        ),
        'before it was left',
      ).to.equal(2)
      expect(
        await runsOf(
          (tx) => first(tx, true),
          () => db.put(3.5, 0),
        ),
        'left early, backwards',
      ).to.equal(1)
      expect(
        await runsOf(
          (tx) => first(tx, true),
          () => db.put(4.5, 0),
        ),
        'before, backwards',
      ).to.equal(2)
      expect(
        await runsOf(
          (tx) => [...tx.keys({ limit: 1 })],
          () => db.del(5),
        ),
        'limit',
      ).to.equal(1)
      expect(
        await runsOf(
          (tx) => [...tx.keys({ lt: 2 })],
          () => db.put(2, 0),
        ),
        'at an excluded end',
      ).to.equal(1)
      expect(
        await runsOf(
          (tx) => [...tx.keys({ gt: 2, lt: 3 })],
          () => db.put(2, 1),
        ),
        'at both',
      ).to.equal(1)
      expect(
        await runsOf(
          (tx) => [...tx.keys({ lte: 2 })],
          () => db.put(2, 2),
        ),
        'at an included end',
      ).to.equal(2)
      expect(
        await runsOf(
          (tx) => tx.range(),
          () => db.put(2, 3),
        ),
        'a range that was not read',
      ).to.equal(1)
      expect(
        await runsOf(
          (tx) => tx.has(2),
          () => db.put(2, 4),
        ),
        'another value',
      ).to.equal(1)
    })

    it('with what they overwrite without having read it', async () => {
      expect(
        await runsOf(
          () => 0,
          () => db.put(1, 'x'),
          (tx) => tx.put(1, 'y'),
        ),
      ).to.equal(1)
      expect(db.get(1)).to.equal('y')
      expect(
        await runsOf(
          (tx) => tx.put(1, 'z') ?? tx.get(1),
          () => db.put(1, 'x'),
          (tx) => tx.get(1),
        ),
      ).to.equal(1)
      expect(db.get(1)).to.equal('z')
    })

    it('where they add', async () => {
      expect(
        await runsOf(
          () => 0,
          () => db.add('hits', 5),
          (tx) => tx.add('hits', 1),
        ),
      ).to.equal(1)
      expect(db.get('hits')).to.equal(6)
      const runs = await runsOf(
        () => 0,
        () => db.add('hits', 5),
        (tx) => {
          tx.add('hits', 1)
          expect(tx.get('hits'), 'it has looked by then').to.be.oneOf([7, 12])
        },
      )
      expect([runs, db.get('hits')]).to.deep.equal([2, 12])
    })
  })
})
