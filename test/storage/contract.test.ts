// The storage contract, over the real system and over every storage that replaces it in tests and proofs. If one of
// these failed, a proof would run on a storage that differs from the real one.
import { expect } from 'chai'
import { Schedule } from '../../crash-tests/sim/schedule.js'
import { World } from '../../crash-tests/sim/world.js'
import { MemoryStorage } from '../../crash-tests/fuzz/memory-storage.js'
import { posixStorage } from '../../src/storage/posix.js'
import { Faults, FaultyStorage } from '../support/faulty-storage.js'
import { removeScratch, scratchDirectory } from '../support/storage.js'
import { describeStorageContract } from './contract.js'

describeStorageContract({
  name: 'the real one',
  lacks: [],
  make: () => ({ storage: posixStorage, directory: scratchDirectory() }),
  finish: removeScratch,
})

describeStorageContract({
  name: 'the simulated one',
  lacks: ['windows of any length', 'process memory is renewed', 'renames anything', 'holds directories'],
  make: () => ({ storage: new World(new Schedule(1)).storageFor({ name: 'one', dead: false }), directory: '/' }),
})

describeStorageContract({
  name: 'the one in memory',
  lacks: ['locks exclude', 'windows of any length', 'process memory', 'process memory is renewed', 'holds directories'],
  make: () => ({ storage: new MemoryStorage(), directory: '/' }),
})

let faults = new Faults()

describeStorageContract({
  name: 'the faulty one, with no fault planned',
  lacks: [],
  make: () => {
    faults = new Faults()
    return { storage: new FaultyStorage(posixStorage, faults), directory: scratchDirectory() }
  },
  finish: () => {
    removeScratch()
    expect(faults.open, 'what was opened and not closed').to.equal(0)
  },
})
