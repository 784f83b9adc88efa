// No stores: the least that the work can cost. What reads is a Map in memory; what writes appends the bytes of the
// record to a preallocated file and flushes it.
import { closeSync, fdatasync, fdatasyncSync, fsyncSync, mkdirSync, openSync, writeSync, write } from 'node:fs'
import { promisify } from 'node:util'
import { keyOf, values } from '../data.js'
import { walk } from './pairs.js'

/** Preallocated for single records, which begin again at its start when it is full. What is written in bulk goes on. */
const FILE_BYTES = 16 * 2 ** 20
const writeAsync = promisify(write)
const fdatasyncAsync = promisify(fdatasync)

/** A Map that holds the entries of a loaded database: nothing is looked for on any disk. */
export const map = () => ({
  title: 'Map',
  kind: 'map',
  isFloor: true,
  async open(_path, { entries, valueBytes } = {}) {
    const value = values(1, 16384, valueBytes)
    const sorted = Array.from({ length: entries }, (_, i) => [keyOf(i), value()])
    sorted.sort(([a], [b]) => (a < b ? -1 : 1))
    const byKey = new Map(sorted)
    return {
      read: (key) => byKey.get(key)?.length ?? -1,
      scan: () => walk(sorted),
      close: () => undefined,
    }
  },
})

const openFile = (path) => {
  mkdirSync(path, { recursive: true })
  const fd = openSync(`${path}/file`, 'w+')
  // Written and not only allocated: the first write into a block that was only allocated changes metadata, too.
  const zeros = Buffer.alloc(2 ** 20)
  for (let at = 0; at < FILE_BYTES; at += zeros.length) writeSync(fd, zeros, 0, zeros.length, at)
  fsyncSync(fd)
  return fd
}

const bytesOf = (pairs) => Buffer.concat(pairs.flatMap(([key, value]) => [Buffer.from(key, 'latin1'), value]))

/** pwrite and fdatasync, off the event loop: what is asked for meanwhile shares the next ones. */
export const bareFile = () => ({
  title: 'bare write and flush',
  kind: 'file',
  isFloor: true,
  async open(path) {
    const fd = openFile(path)
    let at = 0
    let end = 0
    let waiting = []
    let busy
    const next = (bytes) => {
      if (at + bytes.length > FILE_BYTES) at = 0
      at += bytes.length
      return at - bytes.length
    }
    const flushAll = async () => {
      while (waiting.length > 0) {
        const group = waiting
        waiting = []
        const bytes = bytesOf(group.map(({ pair }) => pair))
        await writeAsync(fd, bytes, 0, bytes.length, next(bytes))
        await fdatasyncAsync(fd)
        for (const { resolve } of group) resolve()
      }
      busy = undefined
    }
    const writeAll = (pairs) => {
      const bytes = bytesOf(pairs)
      for (let n = 0; n < bytes.length;) n += writeSync(fd, bytes, n, bytes.length - n, end + n)
      end += bytes.length
    }
    return {
      put: (key, value) =>
        new Promise((resolve) => {
          waiting.push({ pair: [key, value], resolve })
          busy ??= flushAll()
        }),
      batch(pairs) {
        writeAll(pairs)
        fdatasyncSync(fd)
      },
      load(chunks) {
        for (const chunk of chunks) writeAll(chunk)
        fdatasyncSync(fd)
      },
      close: () => closeSync(fd),
    }
  },
})

const [TAIL, WRITTEN, FLUSHED, LEADS] = [0, 1, 2, 3]

/** A bare group commit among threads: each writes its record, one of them flushes for all, the others wait. */
export const bareFileThreads = () => ({
  title: 'bare group commit',
  kind: 'file',
  isFloor: true,
  async open(path, { shared } = {}) {
    const fd = shared === undefined ? openFile(path) : openSync(`${path}/file`, 'r+')
    const words = shared ?? new Int32Array(new SharedArrayBuffer(16))
    return {
      shared: words,
      put(key, value) {
        const bytes = bytesOf([[key, value]])
        writeSync(fd, bytes, 0, bytes.length, Atomics.add(words, TAIL, bytes.length) % FILE_BYTES)
        const own = Atomics.add(words, WRITTEN, 1) + 1
        for (;;) {
          const flushed = Atomics.load(words, FLUSHED)
          if (flushed >= own) return
          if (Atomics.compareExchange(words, LEADS, 0, 1) === 0) {
            // Each thread that has counted has written: the flush is of all of them.
            const written = Atomics.load(words, WRITTEN)
            if (Atomics.load(words, FLUSHED) < own) {
              fdatasyncSync(fd)
              Atomics.store(words, FLUSHED, written)
            }
            Atomics.store(words, LEADS, 0)
            Atomics.notify(words, FLUSHED)
          } else Atomics.wait(words, FLUSHED, flushed, 5)
        }
      },
      close: () => closeSync(fd),
    }
  },
})
