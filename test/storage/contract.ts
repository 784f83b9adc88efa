// What every implementation of the storage interface (src/storage/storage.ts) must do. The engine knows only the
// interface. If an implementation behaved differently, a proof that runs on it would not hold for the real system.
//
// An implementation names the abilities that it lacks. The report lists their tests as pending, each with the ability
// that it needs. All other tests must pass.
import type { Storage } from '../../src/storage/storage.js'
import { directories } from './contract/directories.js'
import { files } from './contract/files.js'
import { locks } from './contract/locks.js'
import { regions } from './contract/regions.js'
import { Place, type Ability, type Test, type TestWith } from './contract/setting.js'
import { time } from './contract/time.js'

interface Implementation {
  readonly name: string
  readonly lacks: readonly Ability[]
  /** A storage, and a directory in it that is empty. */
  readonly make: () => { readonly storage: Storage; readonly directory: string }
  /** Called after each test. */
  readonly finish?: () => void
}

/** Describes what `implementation` must do. */
export function describeStorageContract(implementation: Implementation): void {
  describe(`storage contract: ${implementation.name}`, () => {
    let place: Place

    beforeEach(() => {
      const { storage, directory } = implementation.make()
      place = new Place(storage, directory)
    })
    afterEach(() => implementation.finish?.())

    const test: Test = (title, act) => {
      it(title, () => act(place))
    }
    const testWith: TestWith =
      (ability): Test =>
      (title, act) => {
        if (implementation.lacks.includes(ability)) it(`${title} (needs: ${ability})`)
        else test(title, act)
      }
    describe('regions', () => regions(test, testWith))
    describe('files', () => files(test))
    describe('locks', () => locks(test, testWith('locks exclude')))
    describe('directories', () => directories(test, testWith))
    describe('time and chance', () => time(test))
  })
}
