// Proves that the soak can fail: a process that loses something in every spell, and a database that
// loses a key, must be noticed, and each for what it is.
import { rmSync } from 'node:fs'
import { LEAKS, LEAST_SAMPLES, type Leak } from './resources.js'
import { Soak } from './soak.js'

/** What must be said of a process that loses this. */
const NOTICE: Record<Leak, RegExp> = {
  heap: /pool.*heapMiB goes on growing/,
  external: /pool.*externalMiB goes on growing/,
  descriptors: /pool.*: descriptors goes on growing/,
  files: /pool.*databaseDescriptors reaches/,
  mappings: /pool.*databaseMappings reaches/,
}
const SPELL_MS = 250

export async function selfTest(
  directory: string,
  seed: number,
  print: (line: string) => void = console.log,
): Promise<number> {
  let missed = 0
  const quiet = (): void => undefined
  const options = { directory, seed, spellMs: SPELL_MS, restMs: 5, durationMs: Infinity, print: quiet }
  const say = (what: string, problems: readonly string[], notice: RegExp): void => {
    const noticed = problems.find((problem) => notice.test(problem))
    if (noticed === undefined) missed++
    print(`  ${noticed === undefined ? 'MISSED ' : 'noticed'}  ${what}: ${noticed ?? problems[0] ?? 'nothing'}`)
  }
  const leaking = await new Soak({ ...options, spells: LEAST_SAMPLES, leaks: LEAKS }).run()
  for (const leak of LEAKS) say(`a leak of ${leak}`, leaking.problems, NOTICE[leak])
  const tampered = await new Soak({ ...options, spells: 3, tamperAfter: 2 }).run()
  say('a key that is lost', tampered.problems, /finds nothing under .* where write/)
  rmSync(directory, { recursive: true, force: true })
  print(missed === 0 ? 'self-test: everything is noticed' : `self-test: ${missed} faults were missed`)
  return missed === 0 ? 0 : 1
}
