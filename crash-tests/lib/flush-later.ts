// `Region.flushLater` for storages that know one thread only.
import { StorageError, type RandomFile, type Region } from '../../src/storage/storage.js'

interface Request {
  readonly offsetBytes: number
  readonly value: number
  readonly done: (error?: StorageError) => void
}

/** The flushes of one region. */
export class LaterFlushes {
  readonly #region: Region
  #isBusy = false
  #isClosed = false

  constructor(region: Region) {
    this.#region = region
  }

  start(file: RandomFile, { offsetBytes, value, done }: Request): void {
    if (this.#isBusy) throw new StorageError('fdatasync', 'EBUSY', '')
    this.#isBusy = true
    setImmediate(() => {
      const error = flushed(file)
      this.#isBusy = false
      if (this.#isClosed) return
      if (error !== undefined) {
        const window = this.#region.window(Math.floor(offsetBytes / this.#region.windowBytes))
        Atomics.compareExchange(new Int32Array(window, offsetBytes % this.#region.windowBytes, 1), 0, 0, value)
      }
      done(error)
    })
  }

  close(): void {
    this.#isClosed = true
  }
}

function flushed(file: RandomFile): StorageError | undefined {
  try {
    file.flush()
    return undefined
  } catch (error) {
    if (error instanceof StorageError) return error
    throw error
  }
}
