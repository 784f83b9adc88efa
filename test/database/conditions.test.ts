// Writes that depend on what they find, as users see them: through every way to write, with and without workers. If
// these failed, a program that changes what it has read would lose changes of others.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { open, type BatchOperation, type Conditions, type Database, type Key } from '../../src/index.js'
import { refusedAsInvalid } from '../support/interleaving.js'

/** The calls of a database, with or without promises. */
interface Calls {
  readonly put: (key: Key, value: unknown, conditions?: Conditions) => Promise<boolean>
  readonly del: (key: Key, conditions?: Conditions) => Promise<boolean>
  readonly add: (key: Key, delta: number | bigint) => Promise<number | bigint>
  readonly batch: (operations: Iterable<BatchOperation>) => Promise<boolean>
}

const WAYS: Record<string, { workers: number; calls: (db: Database) => Calls }> = {
  'without promises': {
    workers: 0,
    calls: (db) => ({
      put: async (...args) => db.putSync(...args),
      del: async (...args) => db.delSync(...args),
      add: async (...args) => db.addSync(...args),
      batch: async (...args) => db.batchSync(...args),
    }),
  },
  'with promises, no workers': { workers: 0, calls: asIs },
  'with promises, by workers': { workers: 2, calls: asIs },
}

function asIs(db: Database): Calls {
  return {
    put: (...args) => db.put(...args),
    del: (...args) => db.del(...args),
    add: (...args) => db.add(...args),
    batch: (...args) => db.batch(...args),
  }
}

describe('writes that depend on what they find', function () {
  this.timeout(60_000)
  let directory: string
  let db: Database
  let calls: Calls

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'mmapdb-conditions-'))
  })
  afterEach(async () => {
    await db.close()
    rmSync(directory, { recursive: true, force: true })
  })

  for (const [way, { workers, calls: callsOf }] of Object.entries(WAYS)) {
    describe(way, () => {
      beforeEach(async () => {
        db = await open(join(directory, 'db'), { workers })
        calls = callsOf(db)
      })

      it('take effect only if the version is the one that was read', async () => {
        expect(await calls.put('k', 1)).to.equal(true)
        const { version } = db.getEntry('k')!
        expect(await calls.put('k', 2, { ifVersion: version })).to.equal(true)
        expect(await calls.put('k', 3, { ifVersion: version }), 'it is another version by now').to.equal(false)
        expect(await calls.put('k', 3, { ifVersion: 0 }), '0 stands for no entry').to.equal(false)
        expect(db.get('k')).to.equal(2)
        expect(await calls.del('k', { ifVersion: version })).to.equal(false)
        expect(await calls.del('k', { ifVersion: db.getEntry('k')!.version })).to.equal(true)
        expect(await calls.put('k', 4, { ifVersion: 0 })).to.equal(true)
        expect(db.get('k')).to.equal(4)
      })

      it('take effect only if the entry is absent, or present', async () => {
        expect(await calls.put('k', 1, { ifPresent: true })).to.equal(false)
        expect(await calls.put('k', 1, { ifAbsent: true })).to.equal(true)
        expect(await calls.put('k', 2, { ifAbsent: true })).to.equal(false)
        expect(await calls.put('k', 2, { ifPresent: true })).to.equal(true)
        expect(db.get('k')).to.equal(2)
        expect(await calls.put('k', 3, { ifAbsent: false, ifPresent: undefined })).to.equal(true)
        expect(await calls.del('k', { ifAbsent: true })).to.equal(false)
        expect(await calls.del('k', { ifPresent: true })).to.equal(true)
        expect(await calls.del('k'), 'there is nothing left').to.equal(false)
      })

      it('of a batch take effect all together or not at all', async () => {
        await calls.batch([
          { type: 'put', key: 'a', value: 1 },
          { type: 'put', key: 'b', value: 1 },
        ])
        const entries = (): unknown => [...db.range()]
        const before = entries()
        for (const condition of [{ ifAbsent: true }, { ifVersion: 5 }] as const) {
          expect(
            await calls.batch([
              { type: 'put', key: 'a', value: 2 },
              { type: 'del', key: 'b' },
              { type: 'add', key: 'n', delta: 1 },
              { type: 'check', key: 'b', ...condition },
            ]),
          ).to.equal(false)
          expect(entries()).to.deep.equal(before)
        }
        // Conditions are judged by what there is before the batch.
        expect(
          await calls.batch([
            { type: 'put', key: 'c', value: 3, ifAbsent: true },
            { type: 'put', key: 'c', value: 4, ifAbsent: true },
            { type: 'check', key: 'a', ifPresent: true },
          ]),
        ).to.equal(true)
        expect(db.get('c')).to.equal(4)
        expect(await calls.batch([{ type: 'del', key: 'never there' }]), 'a batch took effect').to.equal(true)
        expect(await calls.batch([{ type: 'add', key: 'n', delta: 2 }])).to.equal(true)
        expect(await calls.batch([])).to.equal(true)
      })

      it('are told apart when they share a frame', async () => {
        const results = await Promise.all([
          calls.put('k', 1, { ifAbsent: true }),
          calls.put('k', 2, { ifAbsent: true }),
          calls.add('n', 3),
          calls.batch([{ type: 'check', key: 'k', ifAbsent: true }]),
          calls.del('k'),
          calls.del('k'),
          calls.add('n', 4),
          calls.add('k', 5).catch((error: Error) => error.message),
          calls.put('t', 'text'),
          calls.add('t', 1).catch((error: Error) => error.message),
        ])
        expect(results.slice(0, 9)).to.deep.equal([true, false, 3, false, true, false, 7, 5, true])
        expect(results[9]).to.match(/entry of "t" is no number.*Nothing was changed/)
      })

      it('add up numbers and bigints, whatever has been added at once', async () => {
        expect(await calls.add('n', 1.5)).to.equal(1.5)
        expect(await calls.add('n', -2)).to.equal(-0.5)
        expect(await calls.add('b', 2n ** 70n)).to.equal(2n ** 70n)
        expect(await calls.add('b', 1n)).to.equal(2n ** 70n + 1n)
        const sums = await Promise.all(Array.from({ length: 200 }, () => calls.add('c', 1)))
        expect([...sums].sort((a, b) => Number(a) - Number(b))).to.deep.equal(
          Array.from({ length: 200 }, (_, i) => i + 1),
        )
        await calls.batch([
          { type: 'put', key: 'd', value: 10 },
          { type: 'add', key: 'd', delta: 5 },
          { type: 'del', key: 'n' },
          { type: 'add', key: 'n', delta: 1 },
        ])
        expect([db.get('d'), db.get('n')]).to.deep.equal([15, 1])
      })

      it('add up under the longest keys, too, beside which a number has no room in its leaf', async () => {
        for (const length of [800, 990, 995, 1000, 1015]) {
          const key = 'k'.repeat(length)
          await calls.add(key, 1.5)
          expect(await calls.add(key, 2), `${length} characters`).to.equal(3.5)
          await calls.add(`${key}b`, 10n ** 400n)
          expect(await calls.add(`${key}b`, 1n)).to.equal(10n ** 400n + 1n)
        }
      })

      it('refuse to add to what is no number, and change nothing', async () => {
        await calls.batch([
          { type: 'put', key: 'text', value: '5' },
          { type: 'put', key: 'list', value: [5] },
          { type: 'put', key: 'long', value: 'x'.repeat(5000) },
          { type: 'put', key: 'big', value: 5n },
          { type: 'put', key: 'most', value: Number.MAX_VALUE },
          { type: 'put', key: 'digits', value: 10n ** 400n },
        ])
        const before = [...db.keys()].map((key) => db.getEntry(key))
        for (const key of ['text', 'list', 'long']) await refusedAsInvalid(() => calls.add(key, 1), /is no number/)
        await refusedAsInvalid(() => calls.add('big', 1), /a number and .* a bigint/)
        await refusedAsInvalid(() => calls.add('most', Number.MAX_VALUE), /would become larger/)
        await refusedAsInvalid(() => calls.add('digits', 10n ** 600n), /digits|larger/)
        await refusedAsInvalid(
          () =>
            calls.batch([
              { type: 'put', key: 'other', value: 1 },
              { type: 'add', key: 'text', delta: 1 },
            ]),
          /One of its keys is no number|entry of "text"/,
        )
        expect([...db.keys()].map((key) => db.getEntry(key))).to.deep.equal(before)
      })

      it('refuse conditions that make no sense, and change nothing', async () => {
        const odd: [unknown, RegExp][] = [
          [{ ifAbsent: true, ifPresent: true }, /contradict/],
          [{ ifAbsent: true, ifVersion: 5 }, /contradict/],
          [{ ifVersion: 0, ifPresent: true }, /contradict/],
          [{ ifVersion: -1 }, /ifVersion must be/],
          [{ ifVersion: 1.5 }, /ifVersion must be/],
          [{ ifVersion: '5' }, /ifVersion must be .*"5"/],
          [{ ifAbsent: 1 }, /ifAbsent must be true or false/],
          [{ ifPresent: null }, /ifPresent must be true or false/],
          [{ ifVerison: 5 }, /no option "ifVerison"/],
          [5, /must be an object/],
          [null, /must be an object/],
          [
            {
              get ifVersion(): number {
                throw new Error('of its own')
              },
            },
            /cannot be read: of its own/,
          ],
        ]
        for (const [conditions, message] of odd) {
          await refusedAsInvalid(() => calls.put('k', 1, conditions as Conditions), message)
          await refusedAsInvalid(() => calls.del('k', conditions as Conditions), message)
        }
        for (const delta of [NaN, Infinity, '1', null, undefined, {}] as never[])
          await refusedAsInvalid(() => calls.add('k', delta), /must be a finite number or a bigint/)
        await refusedAsInvalid(
          () => calls.batch([{ type: 'check', key: 'k' }]),
          /Operation 0 .*A check needs a condition/,
        )
        await refusedAsInvalid(
          () => calls.batch([{ type: 'add', key: 'k' } as never]),
          /finite number or a bigint, not undefined/,
        )
        await refusedAsInvalid(
          () => calls.batch([{ type: 'put', key: 'k', value: 1, ifAbsent: true, ifPresent: true } as never]),
          /Operation 0 .*contradict/,
        )
        // A misspelt field must not be without effect.
        for (const [field, value] of Object.entries({ ifversion: 0, ttl: 5, store: 's', ifAbsnt: true })) {
          const operation = { type: 'put', key: 'k', value: 1, [field]: value } as never
          await refusedAsInvalid(() => calls.batch([operation]), new RegExp(`Operation 0 .*field "${field}"`))
        }
        await refusedAsInvalid(
          () => calls.batch(...([[], { ifVersion: 1 }] as never as [never])),
          /batch takes no options, and was given an object\. /,
        )
        expect(db.count()).to.equal(0)
      })
    })
  }

  it('add nothing where values are no numbers', async () => {
    for (const valueEncoding of ['utf8', 'binary'] as const) {
      db = await open(join(directory, valueEncoding), { workers: 0, valueEncoding })
      await refusedAsInvalid(() => db.add('k', 1), /Counters need valueEncoding "msgpack" or "json"/)
      expect(db.count()).to.equal(0)
      await db.close()
    }
    db = await open(join(directory, 'json'), { workers: 0, valueEncoding: 'json' })
    await refusedAsInvalid(() => db.add('k', 1n), /JSON/)
    expect(await db.add('k', 1)).to.equal(1)
  })
})
