// What the storage tests share: scratch directories, threads and processes that run a few lines,
// and a look at what this process has mapped and open.

import { spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { runInNewContext } from 'node:vm'
import { setFlagsFromString } from 'node:v8'
import { startProcess, startThread, type Peer } from './peers.js'
import { compiledUrl } from '../../src/package-root.js'
import type { Region } from '../../src/storage/storage.js'

export type { Peer }

export const PAGE_BYTES = 4096
export const MIB = 2 ** 20

export const RESERVE_BYTES = 2 ** 40
export const WINDOW_BYTES = 2 ** 30
/** Options of regions. */
export const SHARED = { mode: 'shared', reserveBytes: RESERVE_BYTES, windowBytes: WINDOW_BYTES, create: true } as const
export const PRIVATE = { mode: 'private', reserveBytes: RESERVE_BYTES, windowBytes: WINDOW_BYTES } as const
export const ANONYMOUS = { mode: 'anonymous', reserveBytes: RESERVE_BYTES, windowBytes: WINDOW_BYTES } as const

/** Bytes of a region's first window. */
export const firstBytes = (region: Region, from: number, count: number): number[] => [
  ...new Uint8Array(region.window(0), from, count),
]

const POSIX_URL = compiledUrl('src/storage/posix.js')

const directories: string[] = []
const mounts: string[] = []

export function scratchDirectory(): string {
  const path = mkdtempSync(join(realpathSync(tmpdir()), 'mmapdb-storage-'))
  directories.push(path)
  return path
}

export function scratchFile(): string {
  return join(scratchDirectory(), 'file')
}

/** Mounts a file system on a new directory; undefined if this user may not. */
export function mountScratch(type: 'tmpfs' | 'ramfs', options: string): string | undefined {
  const path = join(scratchDirectory(), 'mount')
  mkdirSync(path)
  if (spawnSync('mount', ['-t', type, '-o', options, 'mmapdb-test', path]).status !== 0) return undefined
  mounts.push(path)
  return path
}

export function remountReadOnly(path: string): void {
  if (spawnSync('mount', ['-o', 'remount,ro', path]).status !== 0) throw new Error(`cannot remount ${path}`)
}

export function removeScratch(): void {
  // Lazily: a region that a failed test left open must not keep the rest from being cleaned up.
  for (const path of mounts.splice(0)) spawnSync('umount', ['-l', path])
  for (const path of directories.splice(0)) rmSync(path, { recursive: true, force: true })
}

const withPath = (path: string, body: string): string => `const path = ${JSON.stringify(path)}\n${body}`
const withStorage = (path: string, body: string): string =>
  withPath(path, `const { posixStorage: storage } = await import(${JSON.stringify(POSIX_URL)})\n${body}`)

/** Runs `body` in a worker thread. It has `path` and `storage`. */
export const inThread = (path: string, body: string): Peer => startThread(withStorage(path, body))

/** The same in a process of its own. */
export const inProcess = (path: string, body: string): Peer => startProcess(withStorage(path, body))

/** The same with `path` only: nothing has loaded the addon. */
export const inBareProcess = (path: string, body: string): Peer => startProcess(withPath(path, body))

/** How many mappings of this process lie over the file, deleted or not. */
export function mappingsOf(path: string): number {
  return readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => line.includes(path)).length
}

export function mappingCount(): number {
  return readFileSync('/proc/self/maps', 'utf8').split('\n').length
}

export function descriptorCount(): number {
  return readdirSync('/proc/self/fd').length
}

/** Waits until `condition` holds; fails after 5 s. */
export async function until(condition: () => boolean): Promise<void> {
  for (let round = 0; !condition(); round++) {
    if (round > 1000) throw new Error(`never came true: ${condition}`)
    await delay(5)
  }
}

let gc: (() => void) | undefined

/** Collects garbage and lets finalizers run. */
export async function collectGarbage(): Promise<void> {
  if (gc === undefined) {
    setFlagsFromString('--expose-gc')
    gc = runInNewContext('gc') as () => void
  }
  gc()
  await delay(5)
}

/** Skips the running test and says why in the report. */
export function skip(context: Mocha.Context, reason: string): void {
  if (context.test) context.test.title += ` (skipped: ${reason})`
  context.skip()
}

/** The error that `call` throws. */
export function thrownBy(call: () => unknown): Error & { code?: string; syscall?: string; errno?: number } {
  try {
    call()
  } catch (error) {
    return error as Error
  }
  throw new Error('nothing was thrown')
}
