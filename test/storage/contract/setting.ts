// What the parts of the storage contract share.
import { expect } from 'chai'
import { join } from 'node:path'
import { StorageError, type RegionOptions, type Storage } from '../../../src/storage/storage.js'

export type Ability =
  /** A lock that one lock table holds keeps other tables out. */
  | 'locks exclude'
  /** Regions of one file may have windows of different lengths. */
  | 'windows of any length'
  /** A `process` region is found by the threads of its process, and by them alone. */
  | 'process memory'
  /** A `process` region that is created again leaves the memory before to the regions that have it. */
  | 'process memory is renewed'
  /** Files move from one directory to another, and directories have their names changed. */
  | 'renames anything'
  /** What is reached through a held directory stays reachable when the directory's name changes. */
  | 'holds directories'

export const PAGE_BYTES = 4096
export const WINDOW_BYTES = 65536
export const MAPPED = { reserveBytes: 16 * WINDOW_BYTES, windowBytes: WINDOW_BYTES } as const
export const SHARED: RegionOptions = { ...MAPPED, mode: 'shared', create: true }

export function expectCode(call: () => unknown, code: string): void {
  expect(call, String(call)).to.throw(StorageError).with.property('code', code)
}

/** What the tests of one implementation work with. */
export class Place {
  constructor(
    readonly storage: Storage,
    readonly directory: string,
  ) {}

  at(...names: string[]): string {
    return join(this.directory, ...names)
  }
  write(path: string, text: string): void {
    const file = this.storage.openFile(path, 'create')
    file.write(Buffer.from(text), 0, text.length, 0)
    file.close()
  }
  read(path: string): string {
    const file = this.storage.openFile(path, 'read')
    const bytes = Buffer.alloc(file.sizeBytes())
    expect(file.read(bytes, 0, bytes.length, 0)).to.equal(bytes.length)
    file.close()
    return bytes.toString()
  }
  kindOf(path: string): string {
    return this.storage.info(path).kind
  }
}

export type Test = (title: string, act: (place: Place) => void | Promise<void>) => void

/** For what only some implementations can do. */
export type TestWith = (ability: Ability) => Test
