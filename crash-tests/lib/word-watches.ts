// Watches on words of memory that no kernel knows of: for storages in which all processes are one.
import type { Region, Watch } from '../../src/storage/storage.js'

interface WordWatch {
  seen: number
  isQueued: boolean
  isClosed: boolean
  readonly onChange: () => void
}

/** By the memory and the position of the word in it: regions over one file have the same memory. */
const watches = new WeakMap<ArrayBuffer, Map<number, Set<WordWatch>>>()

function placeOf(region: Region, offsetBytes: number): { window: ArrayBuffer; at: number; value: number } {
  const window = region.window(Math.floor(offsetBytes / region.windowBytes))
  const at = offsetBytes % region.windowBytes
  return { window, at, value: Atomics.load(new Int32Array(window, at, 1), 0) }
}

export function watchWord(region: Region, offsetBytes: number, onChange: () => void): Watch {
  const { window, at, value } = placeOf(region, offsetBytes)
  const watch: WordWatch = { seen: value, isQueued: false, isClosed: false, onChange }
  let words = watches.get(window)
  if (words === undefined) watches.set(window, (words = new Map()))
  const ofWord = words.get(at) ?? new Set()
  words.set(at, ofWord.add(watch))
  return {
    close: () => {
      watch.isClosed = true
      ofWord.delete(watch)
    },
  }
}

/** Tells the watches on a word, if it has changed. */
export function wakeWord(region: Region, offsetBytes: number): void {
  const { window, at, value } = placeOf(region, offsetBytes)
  for (const watch of watches.get(window)?.get(at) ?? []) {
    if (watch.seen === value) continue
    watch.seen = value
    if (watch.isQueued) continue
    watch.isQueued = true
    setImmediate(() => {
      watch.isQueued = false
      if (!watch.isClosed) watch.onChange()
    })
  }
}
