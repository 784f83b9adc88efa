// Helpers for tests of backups and of what is restored from them.
import { existsSync, readdirSync } from 'node:fs'
import { basename, dirname } from 'node:path'
import { expect } from 'chai'
import type { Engine } from '../../src/engine/engine.js'
import type { BackupReport, RestoreReport } from '../../src/maintenance/reports.js'
import { backup } from '../../src/maintenance/backup.js'
import { restore, type RestoreRequest } from '../../src/maintenance/restore.js'
import type { Steps } from '../../src/maintenance/steps.js'
import { posixStorage } from '../../src/storage/posix.js'
import { open, type Database } from '../../src/index.js'
import { expectSound, openEngine, randomFrom, TINY } from './engine.js'

/** Does all steps at once. `between` is called between two steps. */
export function finished<T>(steps: Steps<T>, between: () => void = () => undefined): T {
  for (;;) {
    const step = steps.next()
    if (step.done) return step.value
    between()
  }
}

/** Ends the work after `count` steps; false if it was done before. */
export function endedAfter(steps: Steps<unknown>, count: number): boolean {
  for (let i = 0; i < count; i++) if (steps.next().done) return false
  steps.return(undefined as never)
  return true
}

export const backUp = (engine: Engine, target: string): BackupReport => finished(backup(engine, target))

export const restored = (request: Partial<RestoreRequest> & Pick<RestoreRequest, 'backup' | 'target'>): RestoreReport =>
  finished(restore(posixStorage, { source: request.backup, until: undefined, options: {}, ...request }))

/** Half-empty leaves all over the tree, and values of all lengths. */
export function fillUnevenly(engine: Engine, count: number): void {
  const random = randomFrom(count)
  for (let i = 0; i < count; i++)
    engine.put(`key ${Math.floor(random() * count)}`, Buffer.alloc(i % 50 === 0 ? 9000 : 20 + (i % 200), i))
  for (let i = 0; i < count; i += 2) engine.del(`key ${i}`)
}

/** Every key with the version and the value of its entry. */
export type Content = [key: unknown, version: number, value: unknown][]

export const contentOf = (engine: Engine): Content =>
  ([...engine.range(undefined, 'keys')] as string[]).map((key) => {
    const { version, value } = engine.getEntry(key)!
    return [key, version, value]
  })

/** Opens a database, looks whether it is sound, and returns its content. */
export function contentAt(path: string): Content {
  const engine = openEngine(path, { ...TINY, valueEncoding: undefined, createIfMissing: false })
  try {
    expectSound(engine)
    return contentOf(engine)
  } finally {
    engine.close()
  }
}

/** A database with that many entries, written in batches. */
export async function filledDatabase(path: string, workers: number, entries: number): Promise<Database> {
  const db = await open(path, { workers })
  for (let i = 0; i < entries; i += 1000) {
    await db.batch(
      Array.from({ length: 1000 }, (_, j) => ({ type: 'put', key: `key ${i + j}`, value: 'x'.repeat(100) }) as const),
    )
  }
  return db
}

/** Fails unless there is a sound database with that many entries. */
export async function expectWhole(path: string, entries: number): Promise<void> {
  const copy = await open(path, { workers: 0, createIfMissing: false })
  try {
    expect((await copy.verify()).damage).to.deep.equal([])
    // The entry that is put beside it may be there, too.
    expect(copy.stats().entries).to.be.within(entries, entries + 1)
  } finally {
    await copy.close()
  }
}

/** Fails if anything at all is left of what was to become `target`. */
export function expectNothingLeft(target: string): void {
  const left = readdirSync(dirname(target)).filter((name) => name.startsWith(basename(target)))
  expect(left, 'left of a copy that was not finished').to.deep.equal([])
}

export { existsSync }
