// Helpers for tests of engine and log: scratch databases, options so small that a few writes reach every limit,
// copies of a database as a crash would leave it, damage, seeds, and threads and processes with an engine of their
// own.

import { spawnSync } from 'node:child_process'
import {
  closeSync,
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  realpathSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { Engine } from '../../src/engine/engine.js'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { verify } from '../../src/maintenance/verify.js'
import { MmapdbError, type MmapdbErrorCode } from '../../src/errors.js'
import { posixStorage } from '../../src/storage/posix.js'
import type { HeldDirectory, Storage } from '../../src/storage/storage.js'
import { segmentStart } from '../../src/wal/segment.js'
import { startProcess, startThread, type Peer, type ProcessPeer } from './peers.js'
import { compiledUrl } from '../../src/package-root.js'

export const SLOT_BYTES = 4096

/** Windows, reserve, segments and checkpoints so small that a few hundred writes reach all their borders. */
export const TINY: OpenOptions = {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 4096,
  checkpointBytes: 65536,
  valueEncoding: 'binary',
  timeoutMs: 10_000,
}

// ---- scratch -----------------------------------------------------------------------------------

const directories: string[] = []
const engines: Engine[] = []
const processes: ProcessPeer[] = []
const mounts: string[] = []

/**
 * In memory, if there is enough of it: these tests kill processes, never the machine, and flushing to a disk would be
 * most of their time. MMAPDB_TEST_DIR names another place.
 */
function scratchRoot(): string {
  const given = process.env['MMAPDB_TEST_DIR']
  if (given !== undefined) return given
  try {
    const { bavail, bsize } = statfsSync('/dev/shm')
    if (bavail * bsize > 2 ** 30) return '/dev/shm'
  } catch {
    // There is no such file system on this machine.
  }
  return tmpdir()
}
const root = realpathSync(scratchRoot())

export function scratchDirectory(): string {
  const path = mkdtempSync(join(root, 'mmapdb-engine-'))
  directories.push(path)
  return path
}

/** A path at which there is no database yet. */
export const scratchPath = (): string => join(scratchDirectory(), 'db')

export function openEngine(path: string, options: OpenOptions = TINY): Engine {
  const engine = Engine.open(resolveOptions(path, options), posixStorage)
  engines.push(engine)
  return engine
}

/** An engine with 20 entries: `key 0` to `key 19`, each with its number as text. */
export function filled(path = scratchPath(), options: OpenOptions = TINY): Engine {
  const engine = openEngine(path, options)
  for (let i = 0; i < 20; i++) engine.put(`key ${i}`, Buffer.from(`${i}`))
  return engine
}

/** Mounts a file system on a new directory; undefined if this user may not mount. */
export function mountScratch(options: string): string | undefined {
  const path = join(scratchDirectory(), 'mount')
  mkdirSync(path)
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', options, 'mmapdb-test', path]).status !== 0) return undefined
  mounts.push(path)
  return path
}

export const remount = (path: string, how: 'ro' | 'rw'): boolean =>
  spawnSync('mount', ['-o', `remount,${how}`, path]).status === 0

/** Closes what a test left open, ends its processes and removes its files. Every suite runs it after each test. */
export function cleanUp(): void {
  for (const peer of processes.splice(0)) void peer.kill()
  for (const engine of engines.splice(0)) {
    try {
      engine.close()
    } catch {
      // Its files may have been damaged on purpose; the test has checked what matters.
    }
  }
  for (const path of mounts.splice(0)) spawnSync('umount', ['-l', path])
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true })
}

// ---- seeds -------------------------------------------------------------------------------------

/**
 * MMAPDB_TEST_SEED takes the seed that a failed run printed. MMAPDB_TEST_RUNS multiplies the numbers of runs and
 * rounds: `npm test` makes part of them, so that it takes a few minutes; CI makes all.
 */
const givenSeed = process.env['MMAPDB_TEST_SEED']
const factor = Number(process.env['MMAPDB_TEST_RUNS'] ?? 0.4)

/** How many rounds are made of that many; at least one. */
export const rounds = (count: number): number => Math.ceil(count * factor)
/** Of steps, one in that many is tried. */
export const stride = Math.max(1, Math.round(1 / factor))

/** Parameters for `fc.assert`, which prints its seed when it fails. */
export const runs = (numRuns: number): { numRuns: number; seed?: number } => ({
  numRuns: rounds(numRuns),
  ...(givenSeed === undefined ? {} : { seed: Number(givenSeed) }),
})

/** Numbers in [0, 1) that depend on the seed alone (mulberry32). */
export function randomFrom(seed: number): () => number {
  let a = seed >>> 0
  return () => {
    a = (a + 0x6d2b79f5) >>> 0
    let t = a
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
}

/** Runs `test` with random numbers; if it fails, prints the seed. */
export function seeded(test: (random: () => number) => void): void {
  const seed = givenSeed === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(givenSeed)
  try {
    test(randomFrom(seed))
  } catch (error) {
    console.error(`Repeat this with MMAPDB_TEST_SEED=${seed}`)
    throw error
  }
}

// ---- looking at a database ---------------------------------------------------------------------

/** Fails unless every slot of the newest tree is sound and every slot of the file is accounted for. */
export function expectSound(engine: Engine): void {
  const report = verify(engine)
  expect(report.damage, 'damage found by verify').to.deep.equal([])
}

export function expectError(act: () => unknown, code: MmapdbErrorCode, text?: RegExp): MmapdbError {
  let caught: unknown
  try {
    act()
  } catch (error) {
    caught = error
  }
  expect(caught, `an error with code ${code}`).to.be.instanceOf(MmapdbError)
  const error = caught as MmapdbError
  expect(error.code, error.message).to.equal(code)
  if (text !== undefined) expect(error.message).to.match(text)
  return error
}

/** Every key and value, in order. */
export const contents = (engine: Engine): [unknown, unknown][] =>
  [...engine.range(undefined, 'entries')] as [unknown, unknown][]

// ---- files -------------------------------------------------------------------------------------

/**
 * A copy of the files as they are now, open or not: the death of every process would leave the same. No process may
 * be writing.
 */
export function crashCopy(path: string): string {
  const copy = scratchPath()
  cpSync(path, copy, { recursive: true })
  return copy
}

/**
 * A copy as after a power cut: chance decides which of the pages that were written since `before` was taken are
 * there. `before` is a copy of the data file, and must hold everything that was flushed.
 */
export function powerCutCopy(path: string, before: Buffer, random: () => number): string {
  const copy = crashCopy(path)
  const data = readFileSync(join(copy, 'data'))
  for (let at = 0; at < data.length; at += SLOT_BYTES) {
    if (random() < 0.5) continue
    data.fill(0, at, at + SLOT_BYTES)
    if (at < before.length) before.copy(data, at, at, at + SLOT_BYTES)
  }
  writeFileSync(join(copy, 'data'), data)
  return copy
}

export const dataFile = (path: string): string => join(path, 'data')
export const walFile = (path: string, startLsn: number): string =>
  join(path, 'wal', `${startLsn.toString(16).padStart(16, '0')}.wal`)

/** First LSNs of the segments of a database, ascending. */
export const segmentStarts = (path: string): number[] =>
  readdirSync(join(path, 'wal'))
    .map(segmentStart)
    .filter((start) => start !== undefined)
    .sort((a, b) => a - b)

export function readBytes(file: string, at: number, length: number): Buffer {
  const fd = openSync(file, 'r')
  try {
    const bytes = Buffer.alloc(length)
    return bytes.subarray(0, readSync(fd, bytes, 0, length, at))
  } finally {
    closeSync(fd)
  }
}

export function writeBytes(file: string, at: number, bytes: Uint8Array): void {
  const fd = openSync(file, 'r+')
  try {
    writeSync(fd, bytes, 0, bytes.length, at)
  } finally {
    closeSync(fd)
  }
}

/** Inverts one byte. */
export function flipByte(file: string, at: number, mask = 0xff): void {
  const byte = readBytes(file, at, 1)
  if (byte.length === 0) throw new Error(`${file} ends before byte ${at}`)
  writeBytes(file, at, Buffer.from([byte[0]! ^ mask]))
}

export { copyFileSync, existsSync, readFileSync, statSync, type Peer, type ProcessPeer }

// ---- storage -------------------------------------------------------------------------------------

/** `inner`, which calls `act` before the call numbered `before`, and counts its calls. */
export function interrupted(
  inner: Storage,
  before: number,
  act: () => void,
): { storage: Storage; calls: () => number } {
  let calls = 0
  const watched = <Parts extends object>(parts: Parts): Parts =>
    new Proxy(parts, {
      get: (target, name) => {
        const found: unknown = Reflect.get(target, name, target)
        if (typeof found !== 'function') return found
        return (...args: unknown[]): unknown => {
          if (calls++ === before) act()
          const result = (found as (...args: unknown[]) => unknown).apply(target, args)
          if (name === 'openLocks') return watched(result as object)
          if (name !== 'openDirectory') return result
          const held = result as HeldDirectory
          return { storage: watched(held.storage), identity: held.identity, close: () => held.close() }
        }
      },
    })
  return { storage: watched(inner), calls: () => calls }
}

// ---- threads and processes ---------------------------------------------------------------------

const prelude = (path: string, options: OpenOptions): string => `
  const path = ${JSON.stringify(path)}, options = ${JSON.stringify(options)}
  const { Engine } = await import(${JSON.stringify(compiledUrl('src/engine/engine.js'))})
  const { resolveOptions } = await import(${JSON.stringify(compiledUrl('src/engine/options.js'))})
  const { posixStorage } = await import(${JSON.stringify(compiledUrl('src/storage/posix.js'))})
  const { verify } = await import(${JSON.stringify(compiledUrl('src/maintenance/verify.js'))})
  const open = (more = {}) => Engine.open(resolveOptions(path, { ...options, ...more }), posixStorage)
`

/** Runs `body` in a worker thread. It has `path`, `options`, `open(more?)` and `verify`. */
export const inThread = (path: string, body: string, options: OpenOptions = TINY): Peer =>
  startThread(prelude(path, options) + body)

/** The same in a process of its own, with `environment` added to this one's. */
export function inProcess(
  path: string,
  body: string,
  options: OpenOptions = TINY,
  environment: Record<string, string> = {},
): ProcessPeer {
  const peer = startProcess(prelude(path, options) + body, environment)
  processes.push(peer)
  return peer
}

/** Expects the next thing a peer says. */
export async function heard(peer: Peer, expected: unknown): Promise<void> {
  expect(await peer.next()).to.deep.equal(expected)
}
