// A file that is read and written at offsets.
import * as fs from 'node:fs'
import { identityOf } from './held-directory.js'
import { native } from './native.js'
import { storageError } from './system-errors.js'
import { openOrMake } from './ownership.js'
import { StorageError, type FileAccess, type FileIdentity, type RandomFile } from './storage.js'

export class PosixFile implements RandomFile {
  readonly #path: string
  #fd: number

  constructor(path: string, access: FileAccess, like: string | undefined) {
    this.#path = path
    const { O_RDONLY, O_RDWR } = fs.constants
    try {
      this.#fd = access === 'create' ? openOrMake(path, like) : fs.openSync(path, access === 'read' ? O_RDONLY : O_RDWR)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  #open(method: string): number {
    if (this.#fd < 0) throw new StorageError(method, 'EBADF', this.#path)
    return this.#fd
  }

  get path(): string {
    return this.#path
  }
  /** Throws EBADF if the file is closed. */
  get descriptor(): number {
    return this.#open('fdatasync')
  }

  read(into: Uint8Array, offset: number, length: number, position: number): number {
    const fd = this.#open('read')
    let done = 0
    try {
      while (done < length) {
        const count = fs.readSync(fd, into, offset + done, length - done, position + done)
        if (count === 0) break
        done += count
      }
    } catch (error) {
      throw storageError(error, this.#path)
    }
    return done
  }

  write(from: Uint8Array, offset: number, length: number, position: number): void {
    const fd = this.#open('write')
    let done = 0
    try {
      while (done < length) {
        const count = fs.writeSync(fd, from, offset + done, length - done, position + done)
        // Never seen with a regular file; looping for ever would be worse than failing.
        if (count === 0) throw new StorageError('write', 'EIO', this.#path)
        done += count
      }
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  flush(): void {
    const fd = this.#open('fdatasync')
    try {
      fs.fdatasyncSync(fd)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  allocate(sizeBytes: number): void {
    const fd = this.#open('fallocate')
    try {
      native.allocate(fd, sizeBytes)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  truncate(sizeBytes: number): void {
    const fd = this.#open('ftruncate')
    try {
      fs.ftruncateSync(fd, sizeBytes)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  sizeBytes(): number {
    const fd = this.#open('fstat')
    try {
      return fs.fstatSync(fd).size
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  identity(): FileIdentity {
    const fd = this.#open('statx')
    try {
      return identityOf(native.identify(fd))
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  close(): void {
    if (this.#fd < 0) return
    const fd = this.#fd
    this.#fd = -1
    try {
      fs.closeSync(fd)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }
}
