// recover --salvage: everything readable is brought out, everything else is named, and nothing appears that
// was never written.
import { bytesBetween } from '../../src/wal/lsn.js'
import { cpSync, existsSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { crashed, fails, flip, hosted, json, mmapdb, ok, removeScratch, scratchDb, segments } from '../support/cli.js'

interface Report {
  complete: boolean
  headerFound: boolean
  entries: number
  entriesFromLostLeaves: number
  mayBeStale: boolean
  framesReplayed: number
  damagedSlots: number
  damage: { slotNo: number }[]
  lostRanges: { from: { key: string } | null; to: { key: string } | null }[]
  lostValues: { key: string }[]
  logGaps: { fromLsn: number; toLsn?: number }[]
  verify: { ok: boolean; entries: number }
}

const SLOT_BYTES = 4096
const ENTRIES = 3000
const keyOf = (i: number): string => `key ${String(i).padStart(6, '0')}`

/** Entries 0 to 2999, every seventh deleted again, and a long value. */
async function sample(): Promise<{ db: string; contents: Map<unknown, unknown> }> {
  const db = scratchDb()
  const it = await open(db, { workers: 0 })
  it.batchSync(Array.from({ length: ENTRIES }, (_, i) => ({ type: 'put', key: keyOf(i), value: { i } })))
  await it.checkpoint()
  it.batchSync(
    Array.from({ length: ENTRIES }, (_, i) => i)
      .filter((i) => i % 7 === 0)
      .map((i) => ({ type: 'del', key: keyOf(i) })),
  )
  it.putSync('long', 'x'.repeat(20_000))
  await it.close()
  return { db, contents: await contentsOf(db) }
}

async function contentsOf(db: string): Promise<Map<unknown, unknown>> {
  const it = await open(db, { workers: 0, readOnly: true })
  try {
    return new Map(it.range())
  } finally {
    await it.close()
  }
}

async function salvage(
  db: string,
  exitCode: number,
  run = hosted,
): Promise<{ report: Report; contents: Map<unknown, unknown> }> {
  const out = scratchDb()
  const before = readFileSync(join(db, 'data'))
  const { code, stdout, stderr } = await run(['--db', db, '--json', 'recover', '--salvage', out])
  expect({ code, stderr }).to.deep.equal({ code: exitCode, stderr: '' })
  expect(readFileSync(join(db, 'data')).equals(before)).to.equal(true)
  const report = JSON.parse(stdout) as Report
  expect(report.verify.ok).to.equal(true)
  return { report, contents: await contentsOf(out) }
}

const same = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b)

describe('mmapdb recover --salvage', function () {
  this.timeout(120_000)
  afterEach(removeScratch)

  it('brings everything out of a whole database, and of one that a crash interrupted', async () => {
    const { db, contents } = await sample()
    const whole = await salvage(db, 0, mmapdb)
    expect(whole.report).to.deep.include({
      complete: true,
      headerFound: true,
      entries: contents.size,
      damagedSlots: 0,
      lostRanges: [],
      lostValues: [],
      logGaps: [],
    })
    expect(whole.contents).to.deep.equal(contents)
    const left = await crashed(20)
    const { report, contents: found } = await salvage(left, 0)
    expect(report).to.deep.include({ complete: true, entries: 1, framesReplayed: 20 })
    expect(found).to.deep.equal(await contentsOf(left))
  })

  it('leaves out a damaged leaf, and says which keys lay there', async () => {
    const { db, contents } = await sample()
    const { map } = await json<{ map: string }>(db, 'slots')
    const slotNo = map.indexOf('L')
    const leaf = await json<{ contents: { key: string }[] }>(db, 'slots', String(slotNo))
    flip(join(db, 'data'), slotNo * SLOT_BYTES + 3000)
    const { report, contents: found } = await salvage(db, 3, mmapdb)
    expect(report).to.deep.include({ complete: false, damagedSlots: 1, entries: contents.size - leaf.contents.length })
    expect(report.damage[0]!.slotNo).to.equal(slotNo)
    const [range] = report.lostRanges
    for (const { key } of leaf.contents) {
      expect(found.has(key)).to.equal(false)
      expect(range!.from === null || range!.from.key <= key).to.equal(true)
      expect(range!.to === null || range!.to.key > key).to.equal(true)
      contents.delete(key)
    }
    expect(found).to.deep.equal(contents)
  })

  it('finds the leaves again that a damaged branch led to, and nothing that was deleted', async () => {
    const { db, contents } = await sample()
    const { checkpoint } = await json<{ checkpoint: { root: number; height: number } }>(db, 'slots')
    expect(checkpoint.height).to.equal(2)
    flip(join(db, 'data'), checkpoint.root * SLOT_BYTES + 100)
    const { report, contents: found } = await salvage(db, 3)
    expect(report).to.deep.include({
      complete: false,
      headerFound: true,
      mayBeStale: false,
      entriesFromLostLeaves: contents.size,
    })
    expect(found).to.deep.equal(contents)
  })

  it('gathers leaves from all over the file when every header is damaged', async () => {
    const { db, contents } = await sample()
    for (let slotNo = 0; slotNo < 4; slotNo++) flip(join(db, 'data'), slotNo * SLOT_BYTES + 90)
    await fails(3, /All four headers/, 'recover', '--db', db)
    const { report, contents: found } = await salvage(db, 3)
    expect(report).to.deep.include({ complete: false, headerFound: false, mayBeStale: true })
    for (const [key, value] of contents) expect(same(found.get(key), value), String(key)).to.equal(true)
    // Deleted entries may have come back, with the values that they had.
    for (const [key, value] of found) if (!contents.has(key)) expect(key).to.equal(keyOf((value as { i: number }).i))
  })

  it('leaves out a value of which a part is damaged, and names its key', async () => {
    const { db, contents } = await sample()
    const { map } = await json<{ map: string }>(db, 'slots')
    flip(join(db, 'data'), map.lastIndexOf('O') * SLOT_BYTES + 500)
    const { report, contents: found } = await salvage(db, 3)
    expect(report).to.deep.include({ complete: false, entries: contents.size - 1, lostRanges: [] })
    expect(report.lostValues).to.deep.equal([{ key: 'long' }])
    contents.delete('long')
    expect(found).to.deep.equal(contents)
  })

  it('goes on after a rotten frame of the log', async () => {
    const db = await crashed(30)
    const all = await contentsOf(copyOf(db))
    const lines = (await ok(db, 'wal', '--json', '--ops', '--limit', '0'))
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { frame?: { lsn: number; operations: { key: string }[] } })
    const frames = lines.flatMap(({ frame }) => frame ?? [])
    const segment = segments(db)[0]!
    const hit = frames[10]!
    flip(segment, 64 + bytesBetween(Number.parseInt(segment.slice(-20, -4), 16), hit.lsn) + 60)
    const { report, contents: found } = await salvage(db, 3)
    expect(report).to.deep.include({ complete: false, entries: 1, framesReplayed: 29 })
    expect(report.logGaps).to.have.length(1)
    expect(report.logGaps[0]).to.deep.include({ fromLsn: hit.lsn, toLsn: frames[11]!.lsn })
    all.delete(hit.operations[0]!.key)
    expect(found).to.deep.equal(all)
  })

  it('survives a file that is cut short, and one that is rubbish from somewhere on', async () => {
    const { db, contents } = await sample()
    const bytes = readFileSync(join(db, 'data'))
    // After the slots in use there is room that was never used; losing it loses nothing.
    const { map } = await json<{ map: string }>(db, 'slots')
    const cut = Math.floor(map.search(/_*$/) * 0.85) * SLOT_BYTES
    for (const rest of [Buffer.alloc(0), Buffer.alloc(bytes.length - cut, 0xa5)]) {
      writeFileSync(join(db, 'data'), Buffer.concat([bytes.subarray(0, cut), rest]))
      const { contents: found } = await salvage(db, 3)
      expect(found.size).to.be.above(0)
      for (const [key, value] of found) expect(same(contents.get(key), value), String(key)).to.equal(true)
    }
  })

  it('refuses a database in use, and a target that is there already', async () => {
    const { db } = await sample()
    await fails(2, /There is something at/, 'recover', '--salvage', db, '--db', db)
    await fails(2, /inside the damaged database/, 'recover', '--salvage', `${db}/out`, '--db', db)
    await fails(2, /cannot be used with/, 'recover', '--salvage', scratchDb(), '--dry-run', '--db', db)
    const it = await open(db, { workers: 0 })
    const out = scratchDb()
    await fails(4, /open elsewhere/, 'recover', '--salvage', out, '--db', db)
    await it.close()
    expect(existsSync(out)).to.equal(false)
    const text = await ok(db, 'recover', '--salvage', out)
    expect(text)
      .to.match(/^Salvaged 2,572 entries of the tree; replayed 0 frames/)
      .and.to.match(/^Nothing is missing\.$/m)
      .and.to.match(/^Verified: 2,572 entries/m)
  })
})

/** A copy of a database, to open without changing the original. */
function copyOf(db: string): string {
  const copy = scratchDb()
  cpSync(db, copy, { recursive: true })
  return copy
}
