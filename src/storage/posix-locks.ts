// Locks on bytes of a file (open file description locks), through the native addon.
import { identityOf } from './held-directory.js'
import { native, type NativeLockFile } from './native.js'
import { storageError } from './system-errors.js'
import { type FileIdentity, type LockMode, type LockTable } from './storage.js'

export class PosixLocks implements LockTable {
  readonly #path: string
  readonly #native: NativeLockFile

  constructor(path: string) {
    this.#path = path
    try {
      this.#native = new native.LockFile(path)
    } catch (error) {
      throw storageError(error, path)
    }
  }

  identity(): FileIdentity {
    try {
      return identityOf(this.#native.identity())
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  tryLock(byte: number, mode: LockMode): boolean {
    try {
      return this.#native.tryLock(byte, mode === 'exclusive')
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  lock(byte: number, mode: LockMode, timeoutMs: number): boolean {
    try {
      return this.#native.lock(byte, mode === 'exclusive', timeoutMs)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  isHeldByOther(byte: number, mode: LockMode): boolean {
    try {
      return this.#native.isHeldByOther(byte, mode === 'exclusive')
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  heldByOther(from: number, to: number): number {
    try {
      return this.#native.heldByOther(from, to)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  unlock(byte: number): void {
    try {
      this.#native.unlock(byte)
    } catch (error) {
      throw storageError(error, this.#path)
    }
  }

  close(): void {
    this.#native.close()
  }
}
