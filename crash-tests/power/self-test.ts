// Proves that the disk is what it claims to be, without any database: what was written and not flushed can
// be lost, torn and reordered, every way that the modes name; what was flushed is there, always; and
// what the layer takes for a flush is what the kernel sends to the device as one, no more and no less.
import { spawn } from 'node:child_process'
import {
  closeSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { join } from 'node:path'
import { Random } from '../lib/random.js'
import { sleep } from '../lib/processes.js'
import { Disk, type CutMode } from './disk.js'
import type { FileSystem, Tools } from './tools.js'

const SECTOR_BYTES = 512
const MODES: readonly Exclude<CutMode, 'any'>[] = ['none', 'all', 'prefix', 'requests', 'sectors']
/** Of the image, far after what a file system keeps at its start. */
const AREA_AT = 100 * 1024 * 1024
const SECTORS = 64
const WRITES = 200
/** Of a file system, with and without flushes. */
const CUTS = 20

/** Of files that were written before a cut, how many were found how. */
interface FileCounts {
  whole: number
  old: number
  mixed: number
  gone: number
}

class SelfTest {
  failures = 0
  constructor(
    readonly disk: Disk,
    readonly tools: Tools,
    readonly random: Random,
  ) {}

  say(ok: boolean, what: string): void {
    if (!ok) this.failures++
    console.log(`  ${ok ? 'ok    ' : 'FAILED'}  ${what}`)
  }

  /** The layer alone, no file system: writes of one to eight sectors, each of which holds its number. */
  async layer(mode: Exclude<CutMode, 'any'>, flushAt: number): Promise<void> {
    const { disk, random } = this
    await disk.format()
    await disk.plugIn()
    const fd = openSync(disk.raw, 'r+')
    // By sector, the numbers of the writes that may be found there: what was flushed, and what came later.
    const history: number[][] = Array.from({ length: SECTORS }, () => [0])
    const requests: { first: number; count: number }[] = []
    let report
    try {
      for (let n = 1; n <= WRITES; n++) {
        const first = random.between(0, SECTORS - 1)
        const count = Math.min(random.between(1, 8), SECTORS - first)
        const bytes = Buffer.alloc(count * SECTOR_BYTES)
        for (let i = 0; i < bytes.length; i += 4) bytes.writeUInt32LE(n, i)
        writeSync(fd, bytes, 0, bytes.length, AREA_AT + first * SECTOR_BYTES)
        for (let s = first; s < first + count; s++) history[s]!.push(n)
        requests.push({ first, count })
        if (n === flushAt) {
          fsyncSync(fd)
          for (const versions of history) versions.splice(0, versions.length - 1)
        }
      }
      const cached = this.#sectors(disk.raw)
      this.say(
        cached.every((n, s) => n === history[s]!.at(-1)),
        `${mode}: reading sees the newest, flushed or not`,
      )
      report = await disk.cut(random.between(1, 2 ** 31), mode)
      let refused = ''
      try {
        fsyncSync(fd)
      } catch (error) {
        refused = (error as NodeJS.ErrnoException).code ?? ''
      }
      this.say(refused === 'EIO', `${mode}: a flush without power fails`)
    } finally {
      closeSync(fd)
      await disk.takeAway()
    }
    const left = this.#sectors(disk.image)
    this.say(
      left.every((n, s) => history[s]!.includes(n)),
      `${mode}: each sector is the flushed one or one written since, whole`,
    )
    const isNewest = left.every((n, s) => n === history[s]!.at(-1))
    const isFlushed = left.every((n, s) => n === history[s]![0])
    const changed = history.filter((versions) => versions.length > 1).length
    const unflushed = flushAt < WRITES
    this.say(report.sectors === changed, `${mode}: ${changed} sectors had not been flushed, the layer says so, too`)
    if (!unflushed) this.say(isNewest, `${mode}: everything was flushed and is there`)
    else if (mode === 'none') this.say(isFlushed, 'none: nothing unflushed survives')
    else if (mode === 'all') this.say(isNewest, 'all: everything survives')
    else if (mode === 'prefix')
      this.say(isPrefix(left, history), 'prefix: what was written up to one moment, and nothing after it')
    else if (mode === 'requests') {
      // Requests whose sectors were not written again: all there or all gone.
      const lone = requests
        .map((r, i) => ({ ...r, n: i + 1 }))
        .filter(
          ({ n, first, count }) => n > flushAt && history.slice(first, first + count).every((h) => h.at(-1) === n),
        )
      this.say(
        lone.every(({ n, first, count }) => new Set(left.slice(first, first + count).map((x) => x === n)).size === 1),
        `requests: ${lone.length} requests are there whole or not at all`,
      )
    }
  }

  #sectors(path: string): number[] {
    const fd = openSync(path, 'r')
    const bytes = Buffer.alloc(SECTORS * SECTOR_BYTES)
    readSync(fd, bytes, 0, bytes.length, AREA_AT)
    closeSync(fd)
    return Array.from({ length: SECTORS }, (_, s) => {
      const sector = bytes.subarray(s * SECTOR_BYTES, (s + 1) * SECTOR_BYTES)
      const n = sector.readUInt32LE(0)
      for (let i = 0; i < SECTOR_BYTES; i += 4) if (sector.readUInt32LE(i) !== n) return -1
      return n
    })
  }

  /** A program that flushes and one that does not, in the file system on the disk: what came of its files. */
  async fileSystem(flushes: boolean, seed: number): Promise<FileCounts> {
    const { disk, tools } = this
    await disk.format()
    await disk.powerOn()
    const files = Array.from({ length: 12 }, (_, i) => join(disk.root, `file${i}`))
    const content = (i: number, what: 'old' | 'new'): Buffer => Buffer.alloc(10_000, `file ${i}, ${what}\n`)
    const flush = (path: string): void => {
      const fd = openSync(path, 'r')
      fsyncSync(fd)
      closeSync(fd)
    }
    const writeBack = spawn(tools.writeBack, [disk.root, '3', String(seed)], { stdio: 'ignore' })
    try {
      // Half of the files are there already and are overwritten, the other half come under a new name.
      files.forEach((path, i) => {
        if (i % 2 > 0) return
        writeFileSync(path, content(i, 'old'))
        flush(path)
      })
      flush(disk.root)
      for (const [i, path] of files.entries()) {
        const isOld = i % 2 === 0
        const fd = openSync(isOld ? path : `${path}.new`, isOld ? 'r+' : 'w')
        writeSync(fd, content(i, 'new'))
        if (flushes) fdatasyncSync(fd)
        closeSync(fd)
        if (!isOld) renameSync(`${path}.new`, path)
        if (!isOld && flushes) flush(disk.root)
      }
      await sleep(20)
      await disk.cut(seed, 'any')
    } finally {
      await endOf(writeBack)
      await disk.takeAway()
    }
    await disk.mountPlainly()
    try {
      const counts: FileCounts = { whole: 0, old: 0, mixed: 0, gone: 0 }
      for (const [i, path] of files.entries()) {
        if (!existsSync(path)) counts.gone++
        else {
          const found = readFileSync(path)
          if (found.equals(content(i, 'new'))) counts.whole++
          else if (found.equals(content(i, 'old'))) counts.old++
          else counts.mixed++
        }
      }
      return counts
    } finally {
      await disk.takeAway()
    }
  }

  /**
   * A file under a new name, written and flushed, its directory flushed or not: is the name there? What
   * the file system does beyond what is asked of it decides which flushes of directories can be missed.
   */
  async names(how: 'created' | 'renamed', flushesDirectory: boolean): Promise<boolean> {
    const { disk } = this
    await disk.format()
    await disk.powerOn()
    const path = join(disk.root, 'file')
    try {
      const before = join(disk.root, 'before')
      const flush = (name: string): void => {
        const fd = openSync(name, 'r')
        fsyncSync(fd)
        closeSync(fd)
      }
      if (how === 'renamed') {
        writeFileSync(before, Buffer.alloc(65_536, 1))
        flush(before)
        flush(disk.root)
        renameSync(before, path)
      }
      const fd = openSync(path, how === 'renamed' ? 'r+' : 'w')
      writeSync(fd, Buffer.alloc(4096, 2), 0, 4096, 0)
      fdatasyncSync(fd)
      closeSync(fd)
      if (flushesDirectory) flush(disk.root)
      await disk.cut(1, 'none')
    } finally {
      await disk.takeAway()
    }
    await disk.mountPlainly()
    try {
      return existsSync(path)
    } finally {
      await disk.takeAway()
    }
  }

  /** Does what makes file systems write and flush, and compares what the kernel and the layer have counted. */
  async counts(): Promise<void> {
    const { disk, tools } = this
    await disk.format()
    await disk.powerOn()
    const writeBack = spawn(tools.writeBack, [disk.root, '5', '1'], { stdio: 'ignore' })
    const kernel = (): { flushes: number; sectorsWritten: number } => {
      const fields = readFileSync(`/sys/block/${disk.loop}/stat`, 'utf8').trim().split(/\s+/).map(Number)
      return { sectorsWritten: fields[6]!, flushes: fields[15]! }
    }
    try {
      const cache = readFileSync(`/sys/block/${disk.loop}/queue/write_cache`, 'utf8').trim()
      this.say(cache === 'write back', `the kernel knows that the device has a volatile cache: ${cache}`)
      const [kernelBefore, layerBefore] = [kernel(), await disk.counters()]
      let asked = 0
      for (let i = 0; i < 120; i++) {
        const fd = openSync(join(disk.root, `file${i % 7}`), 'a+')
        writeSync(fd, Buffer.alloc(this.random.between(1, 20_000), i))
        if (i % 3 === 0) {
          fdatasyncSync(fd)
          asked++
        }
        if (i % 10 === 0) readSync(fd, Buffer.alloc(100), 0, 100, 0)
        closeSync(fd)
        if (i % 20 === 0) renameSync(join(disk.root, `file${i % 7}`), join(disk.root, `renamed${i}`))
        await sleep(2)
      }
      await endOf(writeBack)
      await sleep(300)
      const [kernelAfter, layerAfter] = [kernel(), await disk.counters()]
      const device = {
        flushes: kernelAfter.flushes - kernelBefore.flushes,
        sectors: kernelAfter.sectorsWritten - kernelBefore.sectorsWritten,
      }
      const layer = {
        flushes: layerAfter.flushesDone - layerBefore.flushesDone,
        sectors: layerAfter.sectorsWritten - layerBefore.sectorsWritten,
      }
      this.say(
        device.flushes === layer.flushes,
        `${asked} fdatasync: ${device.flushes} flushes of the device, ${layer.flushes} of the layer`,
      )
      this.say(layer.flushes >= asked, 'each fdatasync flushes the device')
      this.say(
        device.sectors === layer.sectors,
        `${device.sectors} sectors written to the device, ${layer.sectors} to the layer`,
      )
      // No program flushes; what is flushed now, the file system does by itself.
      const [kernelQuiet, layerQuiet] = [kernel(), await disk.counters()]
      for (let i = 0; i < 20; i++) writeFileSync(join(disk.root, 'quiet'), Buffer.alloc(5000, i))
      const again = spawn(tools.writeBack, [disk.root, '2', '2'], { stdio: 'ignore' })
      await sleep(400)
      await endOf(again)
      const [kernelEnd, layerEnd] = [kernel(), await disk.counters()]
      const [flushesOfKernel, flushesOfLayer] = [
        kernelEnd.flushes - kernelQuiet.flushes,
        layerEnd.flushesDone - layerQuiet.flushesDone,
      ]
      this.say(
        flushesOfKernel === flushesOfLayer && layerEnd.writes > layerQuiet.writes,
        `writing, closing and write-back without fdatasync: ${layerEnd.writes - layerQuiet.writes} writes, ${flushesOfKernel} flushes of the device, ${flushesOfLayer} of the layer`,
      )
    } finally {
      await endOf(writeBack)
      await disk.takeAway()
    }
  }
}

/** Whether there is a moment such that every sector holds what had been written to it last by then. */
function isPrefix(left: readonly number[], history: readonly number[][]): boolean {
  const newest = Math.max(...left)
  // The request of that moment may be there in part: of its sectors, those up to some place.
  let cutShort = false
  return left.every((n, s) => {
    const upTo = history[s]!.filter((v) => v <= newest)
    if (n === upTo.at(-1) || upTo.length === 0) {
      if (n === newest && cutShort) return false
      return true
    }
    cutShort = true
    return upTo.at(-1) === newest && n === upTo.at(-2)
  })
}

function endOf(child: ReturnType<typeof spawn>): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return Promise.resolve()
  return new Promise((resolve) => {
    child.once('exit', () => resolve())
    child.kill('SIGKILL')
  })
}

export async function selfTest(fileSystem: FileSystem, directory: string, tools: Tools, seed: number): Promise<number> {
  const random = new Random(seed)
  const test = new SelfTest(new Disk(directory, fileSystem, tools), tools, random)
  for (const mode of MODES) {
    await test.layer(mode, random.between(20, WRITES - 60))
    await test.layer(mode, WRITES)
  }
  await test.counts()
  for (const flushes of [false, true]) {
    const sum: FileCounts = { whole: 0, old: 0, mixed: 0, gone: 0 }
    for (let i = 0; i < CUTS; i++) {
      const counts = await test.fileSystem(flushes, random.between(1, 2 ** 31))
      for (const how of Object.keys(sum) as (keyof FileCounts)[]) sum[how] += counts[how]
    }
    const lost = sum.old + sum.mixed + sum.gone
    test.say(
      flushes ? lost === 0 : sum.old > 0 && sum.mixed > 0 && sum.gone > 0,
      `files written ${flushes ? 'and flushed' : 'without a flush'}, ${CUTS} cuts: ${sum.whole} as written, ${sum.old} as before, ${sum.mixed} partly, ${sum.gone} gone`,
    )
  }
  for (const how of ['created', 'renamed'] as const) {
    const [fileOnly, both] = [await test.names(how, false), await test.names(how, true)]
    test.say(
      both,
      `the name of a file that was ${how} and flushed: ${both ? 'there' : 'gone'} if its directory was flushed, too; ${fileOnly ? 'there' : 'gone'} if not`,
    )
  }
  console.log(
    test.failures === 0
      ? 'self-test: the disk loses what it may lose, and nothing else'
      : `self-test: ${test.failures} failures`,
  )
  return test.failures === 0 ? 0 : 1
}
