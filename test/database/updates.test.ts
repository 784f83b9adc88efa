// `update` as users see it. If these failed, a program that changes an entry would lose changes of others, or would
// wait for itself for ever.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import {
  ClosedError,
  ConflictError,
  InvalidError,
  LockedError,
  open,
  ReadOnlyError,
  type Database,
  type Entry,
} from '../../src/index.js'
import { failureOf, pause } from '../support/interleaving.js'

for (const workers of [0, 2]) {
  describe(`updates with ${workers} workers`, function () {
    this.timeout(60_000)
    let directory: string
    let db: Database

    beforeEach(async () => {
      directory = mkdtempSync(join(tmpdir(), 'mmapdb-updates-'))
      db = await open(join(directory, 'db'), { workers })
    })
    afterEach(async () => {
      await db.close()
      rmSync(directory, { recursive: true, force: true })
    })

    it('make the new value of the old one, and resolve to it when it is there', async () => {
      const seen: [unknown, Entry | undefined][] = []
      const count = (n: unknown, entry: Entry | undefined): number => {
        seen.push([n, entry])
        return ((n as number | undefined) ?? 0) + 1
      }
      expect(await db.update('n', count)).to.equal(1)
      const entry = db.getEntry('n')
      expect(await db.update('n', async (...given) => (await pause(1), count(...given)))).to.equal(2)
      expect(db.get('n')).to.equal(2)
      expect(seen).to.deep.equal([
        [undefined, undefined],
        [1, entry],
      ])
      const value = { list: [1] }
      expect(await db.update(['a', 1], () => value), 'what was returned, not a copy').to.equal(value)
      expect(db.get(['a', 1])).to.deep.equal(value)
    })

    it('remove the entry where they return undefined', async () => {
      await db.put('a', 1)
      expect(await db.update('a', () => undefined)).to.equal(undefined)
      expect(db.has('a')).to.equal(false)
      const before = db.stats().commits.frames
      expect(await db.update('a', () => undefined), 'there is nothing to remove').to.equal(undefined)
      expect(db.stats().commits.frames, 'so nothing is written').to.equal(before)
    })

    it('change nothing where the function throws, and pass on what it throws', async () => {
      await db.put('a', 1)
      const mine = new Error('mine')
      const throwing = [
        () => {
          throw mine
        },
        async () => {
          await pause(1)
          throw mine
        },
      ]
      for (const act of throwing) expect(await failureOf(() => db.update('a', act))).to.equal(mine)
      const unstorable = await failureOf(() => db.update('a', () => Symbol('x')))
      expect(unstorable).to.be.instanceOf(InvalidError)
      expect([db.get('a'), db.locks()]).to.deep.equal([1, []])
      expect(await db.update('a', () => 2), 'the lock is free').to.equal(2)
    })

    it('take turns where they are of one key, and go side by side where they are not', async () => {
      let most = 0
      let now = 0
      const slow = async (n: unknown): Promise<number> => {
        most = Math.max(most, ++now)
        await pause(1)
        now--
        return ((n as number | undefined) ?? 0) + 1
      }
      await Promise.all(Array.from({ length: 20 }, () => db.update('n', slow)))
      expect([db.get('n'), most]).to.deep.equal([20, 1])
      await Promise.all(Array.from({ length: 20 }, (_, i) => db.update(i, slow)))
      expect(most).to.be.above(1)
    })

    it('run again where others write without the lock, and lose nothing of that', async () => {
      let runs = 0
      const sum = await db.update('n', async (n) => {
        if (++runs < 4) await db.put('n', runs * 10)
        return ((n as number | undefined) ?? 0) + 1
      })
      expect([sum, db.get('n'), runs]).to.deep.equal([31, 31, 4])
      // Removed meanwhile, and put again.
      runs = 0
      await db.update('n', async (n) => {
        if (++runs === 1) await db.del('n')
        else expect(n).to.equal(undefined)
        return 1
      })
      expect(runs).to.equal(2)
      const always = db.update(
        'n',
        async (n) => {
          await db.put('n', 1)
          return n
        },
        { timeoutMs: 50 },
      )
      const error = await failureOf(() => always)
      expect(error).to.be.instanceOf(ConflictError)
      expect(error.message).to.match(/entry of "n" was changed by others.*50 ms.*Nothing was written/)
    })

    it('end with LockedError where the caller has the lock already', async () => {
      const inner = await failureOf(() =>
        db.update('a', async () => {
          await db.update('a', () => 1, { timeoutMs: 20 })
          return 2
        }),
      )
      expect(inner).to.be.instanceOf(LockedError)
      const lock = await db.lock('a')
      expect(await failureOf(() => db.update('a', () => 1, { timeoutMs: 0 }))).to.be.instanceOf(LockedError)
      expect(await failureOf(() => db.update('a', () => 1, { timeoutMs: 20 }))).to.be.instanceOf(LockedError)
      const other = await db.update('b', () => 1)
      expect(other).to.equal(1)
      const waiting = db.update('a', () => 5)
      lock.release()
      expect(await waiting).to.equal(5)
    })

    it('end with the reason of a signal, while they wait or run', async () => {
      const reason = new Error('enough')
      let runs = 0
      expect(await failureOf(() => db.update('a', () => ++runs, { signal: AbortSignal.abort(reason) }))).to.equal(
        reason,
      )
      const lock = await db.lock('a')
      const waiting = new AbortController()
      const waits = db.update('a', () => ++runs, { signal: waiting.signal })
      setTimeout(() => waiting.abort(reason), 5)
      expect(await failureOf(() => waits)).to.equal(reason)
      lock.release()
      expect(runs).to.equal(0)
      const controller = new AbortController()
      const runs_ = db.update('a', () => (controller.abort(reason), 1), { signal: controller.signal })
      expect(await failureOf(() => runs_)).to.equal(reason)
      expect([db.has('a'), db.locks()]).to.deep.equal([false, []])
      // However long its function takes: what that comes to later has no effect.
      const late = new AbortController()
      let goOn = (_value: number): void => undefined
      const stuck = db.update('a', () => new Promise<number>((resolve) => (goOn = resolve)), { signal: late.signal })
      setTimeout(() => late.abort(reason), 5)
      expect(await failureOf(() => stuck)).to.equal(reason)
      expect(await db.update('a', () => 2, { timeoutMs: 0 }), 'the record is free').to.equal(2)
      goOn(1)
      await pause(5)
      expect([db.get('a'), db.locks()]).to.deep.equal([2, []])
    })

    it('end when the database is closed, whatever their functions wait for', async () => {
      const never = (): Promise<number> => new Promise(() => undefined)
      const pending = [
        db.update('a', never),
        db.transaction(never),
        db.transaction(async (tx) => (tx.put('b', 1), never()), { timeoutMs: Infinity }),
      ].map((promise) => failureOf(() => promise))
      await pause(5)
      await db.close()
      for (const error of await Promise.all(pending)) expect(error).to.be.instanceOf(ClosedError)
    })

    it('refuse what is wrong, and what comes too late', async () => {
      for (const [call, message] of [
        [() => db.update('a', 5 as never), /takes a function/],
        [() => db.update({} as never, () => 1), /key/],
        [() => db.update('a', () => 1, { retries: 1 } as never), /no option "retries"/],
        [() => db.update('a', () => 1, { timeoutMs: NaN }), /timeoutMs/],
      ] as const) {
        const error = await failureOf(call)
        expect(error).to.be.instanceOf(InvalidError)
        expect(error.message).to.match(message)
      }
      const reader = await open(join(directory, 'db'), { readOnly: true, workers: 0 })
      let runs = 0
      const lock = await db.lock('a')
      expect(await failureOf(() => reader.update('a', () => ++runs))).to.be.instanceOf(ReadOnlyError)
      expect(runs, 'it is refused before anything else').to.equal(0)
      lock.release()
      await reader.close()
      const closing = failureOf(() => db.update('a', async () => (void db.close(), 1)))
      expect(await closing).to.be.instanceOf(ClosedError)
      expect(await failureOf(() => db.update('a', () => 1))).to.be.instanceOf(ClosedError)
    })

    it('leave an entry its time, which changes tell, too', async () => {
      const expiresAt = Date.now() + 60_000
      await db.put('session', 1, { expiresAt })
      await db.update('session', (n: number | undefined) => n! + 1)
      expect(db.getEntry('session')).to.include({ value: 2, expiresAt })
      const feed = db.changes({ since: 0 })
      for (const value of [1, 2]) {
        const { value: change } = await feed.next()
        expect(change).to.include({ type: 'put', key: 'session', value, expiresAt })
      }
      await feed.return!()
    })

    it('take the key when they are called', async () => {
      const key = ['k', 1]
      const updated = db.update(key, () => 1)
      key[1] = 2
      await updated
      expect([...db.keys()]).to.deep.equal([['k', 1]])
    })
  })
}
