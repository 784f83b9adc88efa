// A storage of limited size: a call that would make its files longer than that is refused with ENOSPC, also if others
// have filled the disk. Some file systems keep the part that still had room (`keepsPart`).
import { join } from 'node:path'
import { StorageError, type RandomFile, type Region, type Storage } from '../../src/storage/storage.js'

/** No test has reason to meet that many. */
const MOST_REFUSALS = 100_000

export class SmallDisk {
  /** Bytes that files of others take. */
  ballastBytes = 0
  /** Refusals so far. */
  refused = 0

  constructor(
    readonly inner: Storage,
    readonly capacityBytes: number,
    readonly keepsPart: boolean,
  ) {}

  freeBytes(): number {
    return this.capacityBytes - this.ballastBytes - this.#bytesIn('/')
  }

  /** Others fill the disk, or leave `freeBytes` free. */
  fill(freeBytes = 0): void {
    this.ballastBytes += Math.max(0, this.freeBytes() - freeBytes)
  }

  #bytesIn(directory: string): number {
    let sum = 0
    for (const name of this.inner.list(directory)) {
      const path = join(directory, name)
      const { kind, sizeBytes } = this.inner.info(path)
      sum += kind === 'directory' ? this.#bytesIn(path) : Math.ceil(sizeBytes / 4096) * 4096
    }
    return sum
  }

  #extend(path: string, from: number, to: number, grow: (sizeBytes: number) => void): void {
    const pages = (bytes: number): number => Math.ceil(bytes / 4096) * 4096
    const missing = pages(to) - pages(from)
    const free = this.freeBytes()
    if (missing > 0 && missing > free) {
      if (++this.refused > MOST_REFUSALS) throw new Error('the same is tried again and again on a full disk')
      if (this.keepsPart && free > 0) grow(pages(from) + free)
      throw new StorageError('fallocate', 'ENOSPC', path)
    }
    grow(to)
  }

  #region(region: Region, path: string): Region {
    return overridden(region, {
      grow: (sizeBytes: number) =>
        this.#extend(path, region.sizeBytes(), Math.max(sizeBytes, region.sizeBytes()), (to) => region.grow(to)),
    })
  }

  #file(file: RandomFile, path: string): RandomFile {
    return overridden(file, {
      allocate: (sizeBytes: number) =>
        this.#extend(path, file.sizeBytes(), Math.max(sizeBytes, file.sizeBytes()), (to) => file.allocate(to)),
      write: (from: Uint8Array, offset: number, length: number, position: number) =>
        this.#extend(path, file.sizeBytes(), Math.max(position + length, file.sizeBytes()), () =>
          file.write(from, offset, length, position),
        ),
    })
  }

  storage(inner = this.inner): Storage {
    return overridden(inner, {
      openDirectory: (...args: Parameters<Storage['openDirectory']>) => {
        const held = inner.openDirectory(...args)
        return { storage: this.storage(held.storage), identity: held.identity, close: () => held.close() }
      },
      openRegion: (path: string, options: Parameters<Storage['openRegion']>[1]) =>
        options.mode === 'shared'
          ? this.#region(inner.openRegion(path, options), path)
          : inner.openRegion(path, options),
      openFile: (...args: Parameters<Storage['openFile']>) => this.#file(inner.openFile(...args), args[0]),
    })
  }
}

/** `object` with some of its methods replaced. */
function overridden<T extends object>(object: T, methods: Partial<T>): T {
  return new Proxy(object, {
    get(target, name) {
      const own = methods[name as keyof T]
      if (own !== undefined) return own
      const value = target[name as keyof T]
      return typeof value === 'function' ? value.bind(target) : value
    },
  })
}
