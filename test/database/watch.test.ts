// Watches of keys as their users see them: the newest value first, then each newer one, and never too little.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { open, type Database, type KeyWatch, type OpenOptions, type Watched } from '../../src/index.js'
import { ClosedError, MmapdbError } from '../../src/errors.js'
import { cleanUp, openEngine, scratchPath, TINY } from '../support/engine.js'

const OPTIONS: OpenOptions = { ...TINY, valueEncoding: 'json' }
const opened: Database[] = []
async function openBoth(): Promise<[Database, Database]> {
  const path = scratchPath()
  for (let i = 0; i < 2; i++) opened.push(await open(path, OPTIONS))
  return opened.slice(-2) as [Database, Database]
}

const nextOf = async (watch: KeyWatch): Promise<Watched> => {
  const { value } = await watch.next()
  if (value === undefined) throw new Error('it is over')
  return value
}
/** Short: `a=1`, `a-` if it is absent. */
const shown = ({ key, value }: Watched): string => `${String(key)}${value === undefined ? '-' : `=${String(value)}`}`

describe('a watch of keys', function () {
  this.timeout(60_000)
  afterEach(async () => {
    for (const db of opened.splice(0)) await db.close()
    cleanUp()
  })

  it('tells the newest value of each key, in the order given, and then each newer one', async () => {
    const [a, b] = await openBoth()
    await a.put('x', 1)
    const watch = a.watch(['y', 'x', ['y', 1], 'x'])
    expect(await nextOf(watch)).to.deep.equal({ key: 'y', value: undefined, version: 0 })
    expect(await nextOf(watch)).to.deep.equal({ key: 'x', value: 1, version: a.getEntry('x')!.version })
    expect(await nextOf(watch)).to.deep.equal({ key: ['y', 1], value: undefined, version: 0 })
    for (let i = 0; i < 20; i++) {
      const next = nextOf(watch)
      await b.put('other', i)
      await b.put('x', 'refused', { ifAbsent: true })
      if (i % 3 === 0) await b.put(['y', 1], i)
      else if (i % 3 === 1) await b.del(['y', 1])
      else await b.add('y', i)
      expect(await next).to.deep.include({ key: i % 3 === 2 ? 'y' : ['y', 1] })
    }
    await watch.return()
    expect(await watch.next()).to.deep.equal({ done: true, value: undefined })
  })

  it('tells one that is slow the newest value, and what has not changed not again', async () => {
    const [a, b] = await openBoth()
    const watch = a.watch(['x', 'y', 'z'])
    for (let i = 0; i < 3; i++) await nextOf(watch)
    for (let i = 0; i < 500; i++) {
      await b.put('x', i)
      if (i % 100 === 0) await b.checkpoint()
    }
    await b.put('y', 1)
    await b.del('y')
    await b.put('z', 1)
    expect([shown(await nextOf(watch)), shown(await nextOf(watch))].sort()).to.deep.equal(['x=499', 'z=1'])
    const next = nextOf(watch)
    await b.put('y', 2)
    expect(shown(await next)).to.equal('y=2')
  })

  it('misses nothing when more was written meanwhile than is read again', async () => {
    const [a, b] = await openBoth()
    const watch = a.watch(['x', 'y'])
    await nextOf(watch)
    await nextOf(watch)
    await b.put('x', 1)
    for (let i = 0; i < 12; i++) await b.put('large', 'x'.repeat(1024 * 1024))
    expect(shown(await nextOf(watch))).to.equal('x=1')
    const next = nextOf(watch)
    await b.put('y', 1)
    expect(shown(await next)).to.equal('y=1')
  })

  it('of many on the same keys and others, each tells its own', async () => {
    const [a, b] = await openBoth()
    const watches = Array.from({ length: 200 }, (_, i) => a.watch([`k${i % 20}`, 'all']))
    for (const watch of watches) for (let i = 0; i < 2; i++) await nextOf(watch)
    const all = watches.map(nextOf)
    await b.put('all', 1)
    expect(new Set((await Promise.all(all)).map(shown))).to.deep.equal(new Set(['all=1']))
    const next = watches.map(nextOf)
    for (let i = 0; i < 20; i++) await b.put(`k${i}`, i)
    expect((await Promise.all(next)).map(shown)).to.deep.equal(watches.map((_, i) => `k${i % 20}=${i % 20}`))
    for (const watch of watches) await watch.return()
  })

  it('ends with the reason of its signal, with ClosedError, and refuses what cannot be a key', async () => {
    const [a] = await openBoth()
    const abort = new AbortController()
    const stop = new Error('stop')
    const aborted = a.watch('x', { signal: abort.signal })
    await aborted.next()
    const waits = aborted.next().catch((error: unknown) => error)
    abort.abort(stop)
    expect(await waits).to.equal(stop)
    const closed = a.watch('x')
    await closed.next()
    const end = closed.next().catch((error: unknown) => error)
    await delay(2)
    for (const keys of [[], [{}], {}, undefined, [[]], [['a', ['b']]]])
      expect(() => a.watch(keys as never), JSON.stringify(keys)).to.throw(MmapdbError)
    expect(() => a.watch('x', { since: 0 } as never)).to.throw(MmapdbError, /no option "since"/)
    expect(() => a.watch('x', { signal: 5 } as never)).to.throw(MmapdbError, /AbortSignal/)
    await a.close()
    expect(await end).to.be.instanceOf(ClosedError)
  })

  it('tells a value that cannot be decoded as an error, once, and goes on', async () => {
    const [a, b] = await openBoth()
    const engine = openEngine(a.path, OPTIONS)
    engine.write((frame) => frame.put(Buffer.from('bad'), 3, Buffer.from('{')))
    engine.close()
    const watch = a.watch(['bad', 'good'])
    expect(await watch.next().catch((error: MmapdbError) => error.code)).to.equal('ERR_MMAPDB_ENCODING')
    expect(shown(await nextOf(watch))).to.equal('good-')
    const next = nextOf(watch)
    await b.put('bad', 'good now')
    expect(shown(await next)).to.equal('bad=good now')
  })
})
