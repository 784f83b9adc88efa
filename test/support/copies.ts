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
import { expectSound, openEngine, TINY } from './engine.js'

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

/** Fails if anything at all is left of what was to become `target`. */
export function expectNothingLeft(target: string): void {
  const left = readdirSync(dirname(target)).filter((name) => name.startsWith(basename(target)))
  expect(left, 'left of a copy that was not finished').to.deep.equal([])
}

export { existsSync }
