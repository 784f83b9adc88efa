// Threads that come and go at the worst moments, in processes of their own: if this failed, a process would be
// aborted, or a database left open by a forgotten thread.
import { spawnSync } from 'node:child_process'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { cleanUp, rounds, scratchDirectory, scratchPath } from '../support/engine.js'
import { compiledUrl } from '../../src/package-root.js'

const INDEX = JSON.stringify(compiledUrl('src/index.js'))
const seed = Number(process.env['MMAPDB_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

/** Runs a module in a process of its own; returns what it printed. It must end well. */
function run(body: string, ...flags: string[]): string {
  const script = `
    const { open } = await import(${INDEX})
    const { setTimeout: delay } = await import('node:timers/promises')
    let state = ${seed}
    const random = () => ((state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32)
    ${body}`
  const { status, signal, stdout, stderr } = spawnSync(
    process.execPath,
    [...flags, '--input-type=module', '-e', script],
    { encoding: 'utf8' },
  )
  expect({ status, signal }, `MMAPDB_TEST_SEED=${seed}\n${stderr}`).to.deep.equal({ status: 0, signal: null })
  return stdout.trim()
}

describe('worker threads', function () {
  this.timeout(240_000)
  afterEach(cleanUp)

  it('come only when they are needed, and do not keep the process alive', () => {
    const path = JSON.stringify(scratchPath())
    const out = run(`
      const { readdirSync } = await import('node:fs')
      const threads = () => readdirSync('/proc/self/task').length
      await delay(100)
      const before = threads()
      const db = await open(${path}, { workers: 4 })
      db.get('a')
      await db.close()
      const other = await open(${path}, { workers: 0, retain: { bytes: 2 ** 20 } })
      for (let i = 0; i < 100; i++) other.putSync(i, 'x'.repeat(100))
      await other.close()
      const again = await open(${path}, { workers: 4 })
      again.get('a')
      // What was written lies in memory.
      await again.getMany([1, 2, 3])
      console.log(threads() - before)
      await again.put('a', 1)
      await again.countAsync()
      console.log(threads() > before)`)
    expect(out).to.equal('0\ntrue')
  })

  it('survive it that databases are opened, used and closed again at once, over and over', () => {
    const path = scratchDirectory()
    const out = run(`
      for (let i = 0; i < 40; i++) {
        const db = await open(${JSON.stringify(path)} + '/' + i % 7)
        if (i % 3 > 0) db.put(i, i).catch(console.log)
        if (i % 4 === 0) db.getMany([i]).catch(console.log)
        await delay(random() * 40)
        await db.close()
      }
      console.log('done')`)
    expect(out).to.equal('done')
  })

  it("that load or work while a user's own thread is terminated take nothing with them", async () => {
    const path = scratchPath()
    const out = run(`
      const { Worker } = await import('node:worker_threads')
      const code = \`import(${INDEX}).then(async ({ open }) => {
        const db = await open(\${JSON.stringify(${JSON.stringify(path)})})
        ;(await import('node:worker_threads')).parentPort.postMessage('open')
        for (let i = 0; ; i++) { await db.put(i % 10, i); if (i % 5 === 4) await db.getMany([1, 2]) }
      })\`
      for (let i = 0; i < ${rounds(20)}; i++) {
        const thread = new Worker(code, { eval: true })
        await new Promise((resolve, reject) => thread.once('message', resolve).once('error', reject))
        await delay(random() * 60)
        await thread.terminate()
      }
      console.log('done')`)
    expect(out).to.equal('done')
    const db = await open(path)
    expect((await db.verify()).damage).to.deep.equal([])
    await db.close()
  })

  it('are taken down with the process wherever they are', () => {
    for (let round = 0; round < rounds(12); round++) {
      run(`
        const db = await open(${JSON.stringify(scratchPath())})
        void db.put('a', 1)
        void db.getMany(['a'])
        setTimeout(() => process.exit(0), ${round * 8})`)
    }
  })

  it('cannot be started: work for them is refused with what to do, the rest goes on, and closing leaves nothing open', async () => {
    const path = scratchPath()
    // Node.js starts no thread where the working directory is gone.
    const out = run(`
      const { mkdtempSync, rmdirSync } = await import('node:fs')
      const gone = mkdtempSync(${JSON.stringify(scratchDirectory() + '/gone-')})
      process.chdir(gone)
      rmdirSync(gone)
      const db = await open(${JSON.stringify(path)})
      for (const act of [() => db.put('a', 'x'.repeat(2 ** 21)), () => db.getMany(Array.from({ length: 100 }, (_, i) => i)), () => db.verify()]) {
        const error = await act().catch((reason) => reason)
        console.log(error.code, /workers: 0/.test(error.message))
      }
      db.putSync('b', 2)
      await db.put('c', 'x'.repeat(20_000))
      console.log(db.get('a'), db.get('b'), db.get('c').length)
      await db.close()
      await (await open(${JSON.stringify(path)}, { workers: 0 })).close()`)
    expect(out).to.equal(`${'ERR_MMAPDB_IO true\n'.repeat(3)}undefined 2 20000`)
    const db = await open(path, { workers: 0 })
    expect(db.recovery?.needed).to.equal(false)
    expect(db.get('b')).to.equal(2)
    await db.close()
  })

  it('of many databases that are open at once are few', () => {
    const out = run(`
      const { readdirSync } = await import('node:fs')
      const count = 70
      const all = await Promise.all(Array.from({ length: count }, (_, i) => open(${JSON.stringify(scratchDirectory())} + '/' + i)))
      await Promise.all(all.map((db, i) => db.put('k', i)))
      await Promise.all(all.map((db) => db.getMany(['k'])))
      await Promise.all(all.map((db) => db.getMany(['k'])))
      console.log(all.every((db, i) => db.get('k') === i), readdirSync('/proc/self/task').length < 60)
      await Promise.all(all.map((db) => db.close()))
      const again = await Promise.all(all.map(({ path }) => open(path)))
      console.log(again.every((db, i) => !db.recovery.needed && db.get('k') === i))`)
    expect(out).to.equal('true true\ntrue')
  })
})

describe('a database that is no longer referenced', function () {
  this.timeout(240_000)
  afterEach(cleanUp)

  const PRELUDE = `
    const { readdirSync, readlinkSync } = await import('node:fs')
    const open_ = () => readdirSync('/proc/self/fd').filter((fd) => { try { return readlinkSync('/proc/self/fd/' + fd).startsWith(base) } catch { return false } }).length
    const collect = async (until) => { for (let i = 0; i < 400 && !until(); i++) { gc(); await delay(10) } return until() }`

  it('is closed, with its threads, whatever it was used for', () => {
    const out = run(
      `const base = ${JSON.stringify(scratchDirectory())}
      ${PRELUDE}
      let most = 0
      for (let i = 0; i < ${rounds(70)}; i++) {
        const db = await open(base + '/' + i, { workers: i % 3 })
        await db.put('k', i)
        if (i % 2 === 0) { db.keys().next(); db.snapshot(); await db.getMany(['k']) }
        if (i % 20 === 0) gc()
        most = Math.max(most, open_())
      }
      // Threads that are idle keep the databases open that they worked for last.
      console.log(most < 500, await collect(() => open_() < 60))
      const again = await open(base + '/1')
      // Undefined if it is one of those.
      console.log(again.get('k'), again.recovery?.needed ?? false)`,
      '--expose-gc',
    )
    expect(out).to.equal('true true\n1 false')
  })

  it('lasts as long as a program reads with an iterator or a snapshot of it, or waits for a write', () => {
    const out = run(
      `const base = ${JSON.stringify(scratchDirectory())}
      ${PRELUDE}
      const fill = async (name) => { const db = await open(base + '/' + name); await db.batch(Array.from({ length: 2000 }, (_, key) => ({ type: 'put', key, value: key }))); return db }
      const iterator = (await fill('iterator')).keys()
      iterator.next()
      const snapshot = (await fill('snapshot')).snapshot()
      const ofSnapshot = (await fill('both')).snapshot().keys()
      ofSnapshot.next()
      const write = (await open(base + '/write')).put('a', 1)
      for (let i = 0; i < 30; i++) { gc(); await delay(10) }
      await write
      console.log([...iterator].length, snapshot.get(1999), [...ofSnapshot].length)`,
      '--expose-gc',
    )
    expect(out).to.equal('1999 1999 1999')
  })
})
