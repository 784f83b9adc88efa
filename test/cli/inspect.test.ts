// recover, verify, stats, wal and slots: on databases that are whole, that a
// crash interrupted, that are in use, and that are damaged.
import { bytesBetween, paddedBytes } from '../../src/wal/lsn.js'
import { appendFileSync, cpSync, readFileSync, rmSync, statSync, truncateSync } from 'node:fs'
import { join } from 'node:path'
import { expect } from 'chai'
import { open } from '../../src/index.js'
import {
  crashed,
  fails,
  failsInJsonToo,
  flip,
  hosted,
  json,
  mmapdb,
  ok,
  real,
  removeScratch,
  scratchDb,
  segments,
} from '../support/cli.js'

interface Recovered {
  dryRun: boolean
  recovery: {
    needed: boolean
    framesReplayed: number
    operationsReplayed: number
    tornTailBytes: number
    headersDamaged: number
  } | null
  verify: { ok: boolean; entries: number; damage: unknown[] }
}

interface Frame {
  lsn: number
  type: string
  operationCount: number
  bytes: number
  time: string
  watermark: number
  operations?: { kind: string; key: unknown; value?: unknown }[]
  decided?: number[]
  outcomes?: { lsn: number; operations: Record<string, unknown>[] | null }[]
}

interface LogLine {
  segment?: { file: string; start: number; bytes: number; good: boolean }
  frame?: Frame
  end?: { kind: string; lsn: number; framesNotShown: number }
  gap?: unknown
}

const SLOT_BYTES = 4096
const SEGMENT_HEADER_BYTES = 64

const parseLines = (text: string): LogLine[] =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as LogLine)
const framesOf = (lines: LogLine[]): Frame[] => lines.flatMap(({ frame }) => frame ?? [])

/** Where the frame with this LSN lies in its segment. */
const frameAt = (segment: string, lsn: number): number =>
  SEGMENT_HEADER_BYTES + bytesBetween(Number.parseInt(segment.slice(-20, -4), 16), lsn)

async function sample(entries = 2000): Promise<string> {
  const db = scratchDb()
  const it = await open(db, { workers: 0 })
  it.batchSync(
    Array.from({ length: entries }, (_, i) => ({
      type: 'put',
      key: `key ${String(i).padStart(6, '0')}`,
      value: { i },
    })),
  )
  it.putSync('long', 'x'.repeat(10_000))
  await it.close()
  return db
}

/** A leaf of the data file. */
async function someLeaf(db: string): Promise<number> {
  const { map } = await json<{ map: string }>(db, 'slots')
  return map.indexOf('L')
}

describe('command line, looking inside', function () {
  this.timeout(120_000)
  afterEach(removeScratch)

  describe('recover', () => {
    it('says what a dry run would do, changes nothing by it, then does it, then has nothing left to do', async () => {
      const db = await crashed(30)
      const copy = `${db}-copy`
      cpSync(db, copy, { recursive: true })
      const dry = await json<Recovered>(db, 'recover', '--dry-run')
      expect(dry.recovery).to.deep.include({
        needed: true,
        framesReplayed: 30,
        operationsReplayed: 30,
        tornTailBytes: 0,
        headersDamaged: 0,
      })
      expect(dry.verify).to.deep.include({ ok: true, entries: 31 })
      for (const file of ['data', ...segments(db).map((path) => path.slice(db.length + 1))]) {
        expect(readFileSync(join(db, file)).equals(readFileSync(join(copy, file))), file).to.equal(true)
      }
      const text = await ok(db, 'recover')
      expect(text).to.match(/^Recovered from checkpoint \d+, LSN \d+, to LSN \d+ in [\d.]+ ms\.\n/)
      expect(text)
        .to.match(/^ {2}frames replayed +30$/m)
        .and.to.match(/^ {2}operations replayed +30$/m)
        .and.to.match(/^Verified: 31 entries.*No damage\.$/m)
      expect(await ok(db, 'recover')).to.match(
        /^There is nothing to recover: the database was closed cleanly, or nothing has been written since it was\.\nVerified: 31 entries/,
      )
      expect(await ok(db, 'recover', '--quiet')).to.equal('')
    })

    it('drops a torn frame and says how long it was', async () => {
      const db = await crashed(30)
      const frames = framesOf(parseLines(await ok(db, 'wal', '--json', '--limit', '0')))
      const last = frames.at(-1)!
      flip(segments(db).at(-1)!, frameAt(segments(db).at(-1)!, last.lsn) + last.bytes - 1)
      const torn = parseLines(await ok(db, 'wal', '--json', '--limit', '0'))
      expect(torn.at(-1)!.end).to.deep.include({ kind: 'torn', lsn: last.lsn })
      const { recovery } = await json<Recovered>(db, 'recover')
      expect(recovery).to.deep.include({ framesReplayed: 29, tornTailBytes: paddedBytes(last.bytes) })
    })

    it('replaces a damaged header', async () => {
      const db = await sample()
      flip(join(db, 'data'), 100)
      flip(join(db, 'data'), SLOT_BYTES + 100)
      const { code, stdout } = await hosted(['verify', '--db', db])
      expect(code).to.equal(3)
      expect(stdout).to.match(/^ {2}slot [01]: its CRC does not match its bytes$/m)
      expect((await json<Recovered>(db, 'recover')).recovery!.headersDamaged).to.be.above(0)
      expect(await ok(db, 'get', 'key 000007')).to.equal('{"i":7}\n')
    })

    it('leaves a database that is open in another process to that process', async () => {
      const db = scratchDb()
      const it = await open(db, { workers: 0 })
      it.putSync('k', 1)
      expect(await ok(db, 'recover')).to.match(
        /^The database is open in another process: the first process that opened it has recovered it\.\nVerified: 1 entry/,
      )
      expect(await ok(db, 'verify')).to.match(/^Verified: 1 entry/)
      expect((await json<{ commits: { operations: number } }>(db, 'stats')).commits.operations).to.equal(1)
      await it.close()
    })
  })

  describe('of a damaged database', () => {
    it('verify, recover and slots list the damage and exit with 3, and so does reading it', async () => {
      const db = await sample()
      const slotNo = await someLeaf(db)
      flip(join(db, 'data'), slotNo * SLOT_BYTES + 2000)
      for (const args of [['verify'], ['recover'], ['recover', '--dry-run']]) {
        const { code, stdout } = await mmapdb([...args, '--db', db])
        expect({ args, code }).to.deep.equal({ args, code: 3 })
        expect(stdout).to.match(new RegExp(`^ {2}slot ${slotNo}: .*CRC`, 'm'))
      }
      const asJson = await hosted(['verify', '--json', '--db', db])
      expect(asJson.code).to.equal(3)
      expect((JSON.parse(asJson.stdout) as { damage: { slotNo: number }[] }).damage.map((d) => d.slotNo)).to.include(
        slotNo,
      )
      const map = await mmapdb(['slots', '--db', db])
      expect(map.code).to.equal(3)
      expect(map.stdout)
        .to.match(/!/)
        .and.to.match(new RegExp(`DAMAGED: slot ${slotNo}: its CRC`))
      const one = await hosted(['slots', String(slotNo), '--db', db])
      expect(one.code).to.equal(3)
      expect(one.stdout).to.contain('DAMAGED: its CRC does not match its bytes')
      await failsInJsonToo(
        3,
        'ERR_MMAPDB_CORRUPT',
        new RegExp(`Slot ${slotNo} of the data file is damaged`),
        'scan',
        '--db',
        db,
      )
    })

    it('wal says where acknowledged frames are rotten, and opening refuses with exit code 3', async () => {
      const db = await crashed(30)
      const lines = parseLines(await ok(db, 'wal', '--json', '--limit', '0'))
      const hit = framesOf(lines)[10]!
      flip(segments(db)[0]!, frameAt(segments(db)[0]!, hit.lsn) + 45)
      const { code, stdout } = await mmapdb(['wal', '--json', '--limit', '0', '--db', db])
      expect(code).to.equal(3)
      const rotten = parseLines(stdout)
      expect(framesOf(rotten)).to.deep.equal(framesOf(lines).slice(0, 10))
      expect(rotten.at(-1)!.end).to.deep.include({ kind: 'rot', lsn: hit.lsn })
      const text = await hosted(['wal', '--db', db])
      expect(text.code).to.equal(3)
      expect(text.stdout).to.contain(`ROT: The log is damaged at LSN ${hit.lsn}`)
      await real.fails(3, /The log is damaged at LSN/, 'get', 'before', '--db', db)
      for (const command of [['recover'], ['verify'], ['load', '--ops', '5']])
        await fails(3, /The log is damaged at LSN/, ...command, '--db', db)
    })
  })

  describe('wal', () => {
    it('lists segments and frames, from where and as many as asked for, with their operations', async () => {
      const db = await crashed(30)
      const all = parseLines(await ok(db, 'wal', '--json', '--limit', '0', '--ops'))
      const [segment] = all.flatMap((line) => line.segment ?? [])
      expect(segment).to.deep.include({ good: true, bytes: statSync(segments(db)[0]!).size })
      const frames = framesOf(all)
      expect(frames).to.have.length(30)
      frames.forEach((frame, i) => {
        expect(frame).to.deep.include({ type: 'operations', operationCount: 1 })
        expect(frame.lsn).to.be.above(frames[i - 1]?.lsn ?? 0)
        expect(frame.watermark).to.be.at.most(frame.lsn)
        expect(Date.parse(frame.time)).to.be.closeTo(Date.now(), 60_000)
        expect(frame.operations).to.have.length(1)
        expect(frame.operations![0]!.kind).to.equal('put')
        expect(frame.operations![0]!.key).to.match(/^key:\d{11}$/)
        expect(frame.operations![0]!.value).to.be.a('string').with.length(100)
      })
      expect(all.at(-1)!.end).to.deep.include({ kind: 'end', framesNotShown: 0 })
      const some = parseLines(await ok(db, 'wal', '--json', '--from', String(frames[20]!.lsn), '--limit', '3'))
      expect(framesOf(some).map(({ lsn }) => lsn)).to.deep.equal(frames.slice(20, 23).map(({ lsn }) => lsn))
      expect(some.at(-1)!.end).to.deep.include({ framesNotShown: 7 })
      const name = segments(db)[0]!.slice(-20)
      expect(framesOf(parseLines(await ok(db, 'wal', '--json', '--segment', name, '--limit', '0')))).to.have.length(30)
      await fails(2, /There is no segment abc\. There are: /, 'wal', '--segment', 'abc', '--db', db)
      const text = await ok(db, 'wal', '--ops', '--limit', '2')
      expect(text).to.match(/^segment [0-9a-f]{16}\.wal +256\.1 KiB {2}LSN \d+ to at most \d+\n/)
      expect(text).to.match(/^ +LSN {2}type +ops +bytes {2}time +watermark$/m)
      expect(text).to.match(
        /^ +\d+ {2}operations +1 +\d+ {2}\d{4}-\d\d-\d\dT[\d:.]+Z +\d+\n +put key:\d{11} = ".*…? \(102 bytes\)$/m,
      )
      expect(text).to.contain('... and 28 more frames; --limit 0 shows all of them.\n')
      expect(text).to.match(/\nThe log ends at LSN \d+\.\n$/)
    })

    it('reads the log of a database in use, and leaves it alone', async () => {
      const db = scratchDb()
      const it = await open(db, { workers: 0 })
      for (let i = 0; i < 5; i++) it.putSync(i, i)
      it.delSync(3)
      const lines = parseLines(await ok(db, 'wal', '--json', '--ops'))
      const frames = framesOf(lines)
      // The delete had something to decide: what it came to follows it.
      expect(frames.at(-1)).to.deep.include({ type: 'outcomes', decided: [frames.at(-2)!.lsn] })
      expect(
        frames.slice(0, -1).map(({ operations }) => `${operations![0]!.kind} ${operations![0]!.key}`),
      ).to.deep.equal(['put 0', 'put 1', 'put 2', 'put 3', 'put 4', 'del 3'])
      expect(lines.at(-1)!.end!.kind).to.equal('in use')
      it.putSync('after', 1)
      await it.close()
    })

    it('says what became of each write', async () => {
      const db = scratchDb()
      const it = await open(db, { workers: 0 })
      it.putSync('there', 'text')
      it.batchSync([
        { type: 'add', key: 'n', delta: 5n },
        { type: 'del', key: 'there' },
        { type: 'put', key: 'new', value: 1, ifAbsent: true },
      ])
      it.putSync('new', 2, { ifAbsent: true })
      it.delSync('never there')
      expect(() => it.addSync('new', 1n)).to.throw(/bigint/)
      const frames = framesOf(parseLines(await ok(db, 'wal', '--json', '--ops', '--limit', '0')))
      const said = frames.flatMap(({ outcomes }) => outcomes ?? [])
      const decided = frames.filter(({ type }, i) => type === 'operations' && i > 0)
      expect(said.map(({ lsn }) => lsn)).to.deep.equal(decided.map(({ lsn }) => lsn))
      const [first] = said
      expect(first!.operations).to.deep.equal([
        { kind: 'add', beginsWrite: true, key: 'n', verdict: 'done', sum: { bigint: '5' } },
        { kind: 'del', beginsWrite: false, key: 'there', verdict: 'done', removed: true },
        { kind: 'put', beginsWrite: false, key: 'new', verdict: 'done' },
      ])
      expect(said.slice(1).map(({ operations }) => operations![0])).to.deep.equal([
        { kind: 'put', beginsWrite: true, key: 'new', verdict: 'refused' },
        { kind: 'del', beginsWrite: true, key: 'never there', verdict: 'done', removed: false },
        { kind: 'add', beginsWrite: true, key: 'new', verdict: 'number and bigint' },
      ])
      const text = await ok(db, 'wal', '--ops')
      expect(text).to.match(
        /\n +of the frame at LSN \d+\n +add n: done, .*5.*\n +\+ del there: done\n +\+ put new: done\n/,
      )
      expect(text)
        .to.contain('  put new: refused\n')
        .and.contain('  del never there: done, there was none\n')
        .and.contain('  add new: number and bigint\n')
      await it.close()
    })

    it('shows what a transaction has read and written', async () => {
      const db = scratchDb()
      const it = await open(db, { workers: 0 })
      for (const key of ['a', 'b', 'c']) it.putSync(key, 1)
      const { version } = it.getEntry('a')!
      await it.transaction((tx) => {
        tx.get('a')
        tx.put('n', [...tx.keys({ gt: 'a', lte: 'c' }), ...tx.keys({ gte: 'd' })].length)
      })
      const transaction = framesOf(parseLines(await ok(db, 'wal', '--json', '--ops'))).at(-2)!
      const olderThan = transaction.lsn
      expect(transaction.operations).to.deep.equal([
        {
          kind: 'check range',
          beginsWrite: true,
          key: 'a',
          valueBytes: 17,
          range: { fromAfter: true, to: 'c', toInclusive: true, entries: 2, olderThan },
        },
        {
          kind: 'check range',
          beginsWrite: false,
          key: 'd',
          valueBytes: 16,
          range: { fromAfter: false, to: null, toInclusive: false, entries: 0, olderThan },
        },
        { kind: 'check', ifVersion: version, beginsWrite: false, key: 'a', valueBytes: 0 },
        { kind: 'put', beginsWrite: false, key: 'n', valueBytes: 1, value: 2 },
      ])
      const text = await ok(db, 'wal', '--ops')
      expect(text).to.match(/^ +check range after a, up to and with c: 2 entries, older than LSN \d+$/m)
      expect(text).to.match(/^ +\+ check range from d, to the end: no entries$/m)
      await it.close()
    })

    it('ignores bytes after the end of a log, and other files beside it', async () => {
      const db = await crashed(3)
      appendFileSync(segments(db)[0]!, 'rubbish')
      expect(await ok(db, 'wal')).to.match(/The log ends at LSN/)
    })
  })

  describe('slots', () => {
    it('draws the map of the file, and every character agrees with the figures of the header', async () => {
      const db = await sample()
      interface SlotMap {
        slots: number
        slotsPerCharacter: number
        map: string
        counts: Record<string, number>
        damage: unknown[]
        leafFill: number
      }
      const [map, stats] = [
        await json<SlotMap>(db, 'slots'),
        await json<{ slots: Record<string, number> }>(db, 'stats'),
      ]
      expect(map.slots).to.equal(statSync(join(db, 'data')).size / SLOT_BYTES)
      expect(map.map).to.have.length(map.slots)
      expect(map.counts).to.deep.include({
        header: 4,
        leaf: stats.slots['leaf'],
        branch: stats.slots['branch'],
        overflow: 3,
        damaged: 0,
      })
      expect(map.damage).to.deep.equal([])
      expect(map.leafFill).to.be.within(0.4, 1)
      const text = await ok(db, 'slots', '--width', '16')
      expect(text).to.match(/^ *0 {2}HHHH[BLOF._]{12}\n *16 {2}/)
      expect(text)
        .to.match(/^ {2}L +\d+ {2}leaf {3}\(\d+ % full\)$/m)
        .and.to.match(/^ {2}O +3 {2}overflow/m)
        .and.to.match(/2,001 entries, root in slot \d+, height 2/)
      expect((await mmapdb(['slots', '--db', db], { env: { FORCE_COLOR: '1' } })).stdout).to.contain(
        '\u001b[32mL\u001b[0m',
      )
    })

    it('decodes a slot of each kind', async () => {
      const db = await sample()
      expect(await ok(db, 'slots', '0')).to.match(/^ {2}retention +\{"bytes":0,"ms":0\}$/m)
      const { map, checkpoint } = await json<{ map: string; checkpoint: { root: number; number: number } }>(db, 'slots')
      const header = await json(db, 'slots', String(checkpoint.number % 2))
      expect(header).to.deep.include({
        type: 'header',
        checkpointNumber: checkpoint.number,
        root: checkpoint.root,
        entries: 2001,
        damage: null,
      })
      const branch = await json<{ contents: { key?: string; child: number }[] }>(db, 'slots', String(checkpoint.root))
      expect(branch).to.deep.include({ type: 'branch', level: 1, damage: null })
      for (const { child } of branch.contents) expect(map[child]).to.equal('L')
      expect(branch.contents[0]).to.not.have.property('key')
      const leaf = await json<{
        contents: { key: string; version: number; value?: unknown; overflow?: { first: number; lengthBytes: number } }[]
      }>(db, 'slots', String(branch.contents[0]!.child))
      expect(leaf.contents[0]).to.deep.include({ key: 'key 000000', value: { i: 0 } })
      const text = await ok(db, 'slots', String(branch.contents.at(-1)!.child))
      const [, slot] = /^ +\d+ {2}long +version +\d+ {2}10,003 bytes, from slot (\d+)$/m.exec(text)!
      const overflow = await json(db, 'slots', slot!)
      expect(overflow).to.deep.include({ type: 'overflow', usedBytes: 4064, damage: null })
      if (map.includes('F')) expect(await json(db, 'slots', String(map.indexOf('F')))).to.have.property('runs')
      await fails(2, /There is no slot 99999: the file has slots 0 to/, 'slots', '99999', '--db', db)
      await fails(2, /It must be a whole number/, 'slots', 'x', '--db', db)
    })

    it('shows what was written since the checkpoint while the database is in use', async () => {
      const db = scratchDb()
      const it = await open(db, { workers: 0 })
      it.putSync('k', 1)
      const { counts, damage } = await json<{ counts: Record<string, number>; damage: unknown[] }>(db, 'slots')
      expect(counts).to.deep.include({ leaf: 0, newLeaf: 1 })
      expect(damage).to.deep.equal([])
      await it.close()
    })
  })

  it('slots finds a file that is cut short, and wal a log that is missing', async () => {
    const db = await sample()
    rmSync(join(db, 'wal'), { recursive: true })
    await fails(3, /The log, .*wal, is missing/, 'wal', '--db', db)
    truncateSync(join(db, 'data'), 10 * 4096)
    const { code, stdout } = await hosted(['slots', '--db', db])
    expect(code).to.equal(3)
    expect(stdout).to.match(
      /DAMAGED: slot 10: the file is cut short: it has 10 of the \d+ slots that its header counts/,
    )
  })

  it('stats shows a table of figures', async () => {
    const db = await sample()
    const text = await ok(db, 'stats')
    expect(text)
      .to.match(/entries +│ +2,001 /)
      .and.to.match(/height of the tree +│ +2 /)
      .and.to.match(/operations per flush +│ +- /)
    const stats = await json(db, 'stats')
    expect(stats).to.deep.include({ entries: 2001, height: 2, path: db })
  })
})
