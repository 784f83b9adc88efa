// What the storage tests share: scratch directories, threads and processes that run a few lines,
// and a look at what this process has mapped and open.

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { runInNewContext } from 'node:vm'
import { setFlagsFromString } from 'node:v8'
import { Worker } from 'node:worker_threads'

export const PAGE_BYTES = 4096
export const MIB = 2 ** 20

const POSIX_URL = new URL('../../src/storage/posix.js', import.meta.url).href
const NATIVE_URL = new URL('../../src/storage/native.js', import.meta.url).href

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

/** Somebody else, a thread or a process, running the body it was given. */
export interface Peer {
  /** The next thing it says with `say(value)`. */
  next(): Promise<unknown>
  /** What `await hear()` returns there. */
  tell(value: unknown): void
  /** worker.terminate(), or SIGKILL. */
  kill(): Promise<void>
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
}

/** Messages in the order they came, for whoever asks first; a peer's end answers who still waits. */
class Inbox {
  readonly #messages: unknown[] = []
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = []
  #failure: Error | undefined

  add(message: unknown): void {
    const first = this.#waiting.shift()
    if (first) first.resolve(message)
    else this.#messages.push(message)
  }

  end(reason: string): void {
    this.#failure = new Error(reason)
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
  }

  next(): Promise<unknown> {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift())
    if (this.#failure) return Promise.reject(this.#failure)
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }
}

/**
 * Runs `body` in a worker thread. It has `storage`, `native`, `path`, `say(value)` and
 * `await hear()`, and ends when it is through.
 */
export function inThread(path: string, body: string): Peer {
  const worker = new Worker(
    `const { parentPort, workerData: path } = require('node:worker_threads')
     const say = value => parentPort.postMessage(value)
     const heard = [], hearers = []
     parentPort.on('message', value => hearers.length ? hearers.shift()(value) : heard.push(value))
     const hear = () => heard.length ? heard.shift() : new Promise(resolve => hearers.push(resolve))
     ;(async () => {
       const { posixStorage: storage } = await import(${JSON.stringify(POSIX_URL)})
       const { native } = await import(${JSON.stringify(NATIVE_URL)})
       ${body}
       parentPort.close()
     })().catch(error => { say('failed: ' + error.stack); process.exit(70) })`,
    { eval: true, workerData: path },
  )
  const inbox = new Inbox()
  worker.on('message', (message) => inbox.add(message))
  worker.on('error', (error) => inbox.end(String(error)))
  const ended = new Promise<number>((resolve) => {
    worker.on('exit', (code) => {
      inbox.end(`thread ended with ${code}`)
      resolve(code)
    })
  })
  return {
    next: () => inbox.next(),
    tell: (value) => worker.postMessage(value),
    kill: async () => void (await worker.terminate()),
    ended,
  }
}

/** The same in a process of its own. */
export function inProcess(path: string, body: string): Peer {
  const child = spawn(
    process.execPath,
    [
      '--expose-gc',
      '--input-type=module',
      '-e',
      `const path = ${JSON.stringify(path)}
       const say = value => process.send(value)
       const heard = [], hearers = []
       process.on('message', value => hearers.length ? hearers.shift()(value) : heard.push(value))
       const hear = () => heard.length ? heard.shift() : new Promise(resolve => hearers.push(resolve))
       const load = async () => ({
         storage: (await import(${JSON.stringify(POSIX_URL)})).posixStorage,
         native: (await import(${JSON.stringify(NATIVE_URL)})).native,
       })
       ${body.includes('load()') ? '' : 'const { storage, native } = await load()'}
       ${body}
       process.disconnect()`,
    ],
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  )
  const inbox = new Inbox()
  child.on('message', (message) => inbox.add(message))
  const ended = new Promise<number | string>((resolve) => {
    child.on('exit', (code, signal) => {
      inbox.end(`process ended with ${code ?? signal}`)
      resolve(code ?? signal ?? 'nothing')
    })
  })
  return {
    next: () => inbox.next(),
    tell: (value) => void child.send(value as string),
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
    ended,
  }
}

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
