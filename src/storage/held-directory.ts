// The storage as seen from a directory that is held open. Files in it are reached through its descriptor. So they
// stay the same files after a chdir, after a rename of the directory, and when a symbolic link is pointed elsewhere.
// A process holds a directory once for all of its threads. Where /proc cannot be used, files in the directory are
// reached by its real path, as long as that path leads to it.
import { realpathSync, statSync } from 'node:fs'
import { setName } from './names.js'
import { native, NATIVE_AT_WORKING_DIRECTORY, type NativeDirectory, type NativeIdentity } from './native.js'
import {
  StorageError,
  type FileAccess,
  type FileIdentity,
  type FileSystemInfo,
  type HeldDirectory,
  type LockTable,
  type PathInfo,
  type RandomFile,
  type Region,
  type RegionOptions,
  type Storage,
} from './storage.js'

export const identityOf = ([device, inode]: NativeIdentity): FileIdentity => ({ device, inode })

/** `asStorageError` turns the error of a failed call into the one to throw (posix.ts). */
export class PosixDirectory implements HeldDirectory {
  readonly storage: Storage
  readonly identity: FileIdentity
  readonly #directory: NativeDirectory

  constructor(
    around: Storage,
    path: string,
    expected: FileIdentity | undefined,
    asStorageError: (error: unknown) => unknown,
  ) {
    try {
      this.#directory =
        expected === undefined ? new native.Directory(path) : new native.Directory('', expected.device, expected.inode)
      this.identity = identityOf(this.#directory.identity())
      const fd = this.#directory.fd()
      const descriptor = `/proc/self/fd/${fd}`
      const byDescriptor = isReachedBy(descriptor, this.identity)
      if (byDescriptor) setName(descriptor, path)
      this.storage = new StorageInside(
        around,
        path,
        byDescriptor ? descriptor : realpathSync.native(path),
        fd,
        this.identity,
      )
    } catch (error) {
      throw asStorageError(error)
    }
  }

  close(): void {
    this.#directory.close()
  }
}

function isReachedBy(path: string, directory: FileIdentity): boolean {
  try {
    // Checked in both ways: Node.js may be configured to keep its own file functions out of /proc.
    return (
      statSync(path).isDirectory() &&
      native.leadsTo(NATIVE_AT_WORKING_DIRECTORY, path, directory.device, directory.inode)
    )
  } catch {
    return false
  }
}

class StorageInside implements Storage {
  readonly #around: Storage
  readonly #path: string
  /** What paths in the directory begin with, as callers write them. */
  readonly #prefix: string
  /** The path by which the directory is reached. */
  readonly #root: string
  readonly #fd: number
  readonly #identity: FileIdentity
  readonly #isByName: boolean

  constructor(around: Storage, path: string, root: string, fd: number, identity: FileIdentity) {
    this.#around = around
    this.#path = path
    this.#prefix = path.endsWith('/') ? path : `${path}/`
    this.#root = root
    this.#fd = fd
    this.#identity = identity
    this.#isByName = !root.startsWith('/proc/self/fd/')
  }

  #at(path: string): string {
    if (path !== this.#path && !path.startsWith(this.#prefix)) return path
    if (this.#isByName && !this.#around.leadsTo(this.#root, this.#identity))
      throw new StorageError('open', 'ESTALE', path)
    return path === this.#path ? this.#root : `${this.#root}/${path.slice(this.#prefix.length)}`
  }

  #like(path: string | undefined): string | undefined {
    return path === undefined ? undefined : this.#at(path)
  }

  openDirectory(path: string, expected?: FileIdentity): HeldDirectory {
    return this.#around.openDirectory(this.#at(path), expected)
  }
  openRegion(path: string, options: RegionOptions): Region {
    const { like } = options
    return this.#around.openRegion(this.#at(path), like === undefined ? options : { ...options, like: this.#at(like) })
  }
  openFile(path: string, access: FileAccess, like?: string): RandomFile {
    return this.#around.openFile(this.#at(path), access, this.#like(like))
  }
  openLocks(path: string): LockTable {
    return this.#around.openLocks(this.#at(path))
  }
  list(directory: string): string[] {
    return this.#around.list(this.#at(directory))
  }
  info(path: string): PathInfo {
    return this.#around.info(this.#at(path))
  }
  mayWrite(path: string): boolean {
    return this.#around.mayWrite(this.#at(path))
  }
  // Called twice for each group of writes: so it looks up straight from the descriptor.
  leadsTo(path: string, file: FileIdentity): boolean {
    if (!path.startsWith(this.#prefix)) return this.#around.leadsTo(path, file)
    return this.#around.leadsTo(path.slice(this.#prefix.length), file, this.#fd)
  }
  fileSystem(path: string): FileSystemInfo {
    return this.#around.fileSystem(this.#at(path))
  }
  makeDirectory(path: string, like?: string): void {
    this.#around.makeDirectory(this.#at(path), this.#like(like))
  }
  fitsIn(path: string, like: string): boolean {
    return this.#around.fitsIn(this.#at(path), this.#at(like))
  }
  rename(from: string, to: string): void {
    this.#around.rename(this.#at(from), this.#at(to))
  }
  unlink(path: string): void {
    this.#around.unlink(this.#at(path))
  }
  removeDirectory(path: string): void {
    this.#around.removeDirectory(this.#at(path))
  }
  flushDirectory(path: string): void {
    this.#around.flushDirectory(this.#at(path))
  }
  sleep(ms: number): void {
    this.#around.sleep(ms)
  }
  now(): number {
    return this.#around.now()
  }
  monotonicMs(): number {
    return this.#around.monotonicMs()
  }
  randomBytes(count: number): Uint8Array {
    return this.#around.randomBytes(count)
  }
}
