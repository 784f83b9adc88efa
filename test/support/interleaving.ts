// Helpers for tests of `update` and `transaction`.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { InvalidError, open, type Database, type MmapdbError, type Transaction } from '../../src/index.js'

/** Gives each test of a suite a database, `db` in a directory of its own. */
export function eachHasDatabase(take: (db: Database, directory: string) => void): void {
  let directory: string
  let db: Database
  beforeEach(async () => {
    directory = mkdtempSync(join(tmpdir(), 'mmapdb-transactions-'))
    db = await open(join(directory, 'db'), { workers: 1 })
    take(db, directory)
  })
  afterEach(async () => {
    await db.close()
    rmSync(directory, { recursive: true, force: true })
  })
}

export async function failureOf(act: () => unknown): Promise<Error> {
  try {
    await act()
  } catch (error) {
    return error as Error
  }
  return expect.fail('nothing was thrown')
}

export async function refused(
  act: () => unknown,
  kind: new (message: string) => MmapdbError,
  message: RegExp,
): Promise<void> {
  const error = await failureOf(act)
  expect(error).to.be.instanceOf(kind)
  expect(error.message).to.match(message)
}

export const refusedAsInvalid = (act: () => unknown, message: RegExp): Promise<void> =>
  refused(act, InvalidError, message)

/** Something to wait for, and what ends the wait. */
export function gate(): { reached: Promise<void>; open: () => void } {
  let open!: () => void
  const reached = new Promise<void>((resolve) => (open = resolve))
  return { reached, open }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

/**
 * Runs `first` up to its `hold()`, lets `second` commit, and then lets `first` go on. Returns how often `first` was
 * run. Only the first run is held.
 */
export async function interleaved(
  db: Database,
  first: (tx: Transaction, hold: () => Promise<void>) => Promise<unknown>,
  second: () => Promise<unknown>,
): Promise<number> {
  const held = gate()
  const goOn = gate()
  let runs = 0
  const done = db.transaction((tx) => {
    const isFirst = ++runs === 1
    return first(tx, async () => {
      if (!isFirst) return
      held.open()
      await goOn.reached
    })
  })
  await held.reached
  await second()
  goOn.open()
  await done
  return runs
}
