// The directories of a simulated world by their paths. One that was made, renamed or removed may not be there, have its
// old name or be there again after a power cut, until the directory above it was flushed.
import { dirname } from 'node:path'
import { StorageError } from '../../src/storage/storage.js'
import { mix } from '../lib/random.js'
import { SimDirectory } from './disk.js'
import { hash } from './schedule.js'

export class SimDirectories {
  readonly #all = new Map<string, SimDirectory>([['/', new SimDirectory()]])
  readonly #made = new Set<string>()
  #moved: { readonly from: string; readonly to: string }[] = []
  #removed: { readonly path: string; readonly directory: SimDirectory }[] = []

  get(path: string): SimDirectory | undefined {
    return this.#all.get(path)
  }
  has(path: string): boolean {
    return this.#all.has(path)
  }
  all(): SimDirectory[] {
    return [...this.#all.values()]
  }
  paths(): string[] {
    return [...this.#all.keys()]
  }

  make(path: string): void {
    this.#all.set(path, new SimDirectory())
    this.#made.add(path)
  }
  rename(from: string, to: string): void {
    if (this.#all.has(to)) throw new StorageError('rename', 'ENOTEMPTY', from)
    this.#move(from, to)
    this.#moved.push({ from, to })
  }
  remove(path: string): void {
    this.#removed.push({ path, directory: this.#all.get(path)! })
    this.#all.delete(path)
    this.#made.delete(path)
  }
  flush(path: string): void {
    this.#all.get(path)!.flush()
    for (const made of this.#made) if (dirname(made) === path) this.#made.delete(made)
    this.#moved = this.#moved.filter(({ to }) => dirname(to) !== path)
    this.#removed = this.#removed.filter((removed) => dirname(removed.path) !== path)
  }

  /** Of the changes that were not flushed, some have happened. */
  cut(seed: number): void {
    for (const { from, to } of this.#moved.reverse())
      if (mix(seed, hash(to)) % 2 === 0 && !this.#all.has(from)) this.#move(to, from)
    for (const { path, directory } of this.#removed)
      if (mix(seed, hash(path), 1) % 2 === 0 && !this.#all.has(path)) this.#all.set(path, directory)
    for (const made of this.#made) if (mix(seed, hash(made)) % 2 === 0) this.#forget(made)
    this.#moved = []
    this.#removed = []
    this.#made.clear()
    for (const directory of this.#all.values()) directory.cut(seed)
  }

  #move(from: string, to: string): void {
    const newName = (path: string): string => to + path.slice(from.length)
    for (const [path, directory] of [...this.#all].filter(([path]) => isInside(path, from))) {
      this.#all.delete(path)
      this.#all.set(newName(path), directory)
    }
    for (const path of [...this.#made].filter((made) => isInside(made, from))) {
      this.#made.delete(path)
      this.#made.add(newName(path))
    }
  }

  #forget(path: string): void {
    for (const inside of this.#all.keys()) if (isInside(inside, path)) this.#all.delete(inside)
  }
}

const isInside = (path: string, directory: string): boolean => path === directory || path.startsWith(`${directory}/`)
