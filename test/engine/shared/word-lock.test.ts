// Locks that are words of `control`: two never hold one at the same time, and one that died does not hold it for ever.
// If this failed, two would write at the same place of the log, or no one would write any more.
import { expect } from 'chai'
import { observeCrashPoints, type CrashPoint } from '../../../src/crash-points.js'
import type { Engine } from '../../../src/engine/engine.js'
import { cleanUp, openEngine, scratchPath } from '../../support/engine.js'

const lockOf = (engine: Engine) => engine.parts.appendLock
/** As its process dies: the kernel takes its locks back, and it does nothing any more. */
const die = (engine: Engine): void => engine.parts.locks.close()

/** Runs `act`; the first time that it is about to take a lock, `meanwhile` comes first. */
function interrupted<T>(act: () => T, meanwhile: () => void): T {
  let isDone = false
  observeCrashPoints((point: CrashPoint | string) => {
    if (isDone || point !== 'before-lock') return
    isDone = true
    meanwhile()
  })
  try {
    return act()
  } finally {
    observeCrashPoints(undefined)
    expect(isDone).to.equal(true)
  }
}

describe('a lock that is a word of control', () => {
  afterEach(cleanUp)

  const engines = (n: number): Engine[] => {
    const path = scratchPath()
    return Array.from({ length: n }, () => openEngine(path))
  }

  it('is held by one at a time, and by the next once that one has released it', () => {
    const [one, two] = engines(2) as [Engine, Engine]
    expect(lockOf(one).tryTake()).to.equal(true)
    expect(lockOf(two).isFree).to.equal(false)
    for (const take of ['tryTake', 'takeSoon', 'takeOver'] as const) expect(lockOf(two)[take](), take).to.equal(false)
    lockOf(two).release()
    expect(lockOf(two).tryTake()).to.equal(false)
    lockOf(one).release()
    expect(lockOf(two).isFree).to.equal(true)
    expect(lockOf(two).tryTake()).to.equal(true)
    expect(lockOf(one).tryTake()).to.equal(false)
    lockOf(two).release()
  })

  it('is taken over from one that is dead', () => {
    const [one, two] = engines(2) as [Engine, Engine]
    lockOf(one).tryTake()
    die(one)
    expect(lockOf(two).tryTake(), 'who asks nobody whether it lives').to.equal(false)
    expect(lockOf(two).takeOver()).to.equal(true)
    lockOf(two).release()
    two.put('key', Buffer.from('value'))
  })

  it('is taken over by one of several', () => {
    const [one, two, three] = engines(3) as [Engine, Engine, Engine]
    lockOf(one).tryTake()
    die(one)
    let didThree = false
    const didTwo = interrupted(
      () => lockOf(two).takeOver(),
      () => (didThree = lockOf(three).takeOver()),
    )
    expect([didTwo, didThree]).to.deep.equal([false, true])
  })

  it('is not taken over from one that got it on the seat of a dead one meanwhile', () => {
    const [one, two, three] = engines(3) as [Engine, Engine, Engine]
    lockOf(one).tryTake()
    const { seat } = one.parts.seats
    expect(two.parts.seats.seat).to.not.equal(seat)
    die(one)
    const didTwo = interrupted(
      () => lockOf(two).takeOver(),
      () => {
        expect(three.parts.seats.seat).to.equal(seat)
        expect(lockOf(three).takeOver()).to.equal(true)
      },
    )
    expect(didTwo).to.equal(false)
    lockOf(three).release()
  })

  it('that one which died had taken over is taken over again', () => {
    const [one, two, three] = engines(3) as [Engine, Engine, Engine]
    lockOf(one).tryTake()
    die(one)
    expect(lockOf(two).takeOver()).to.equal(true)
    die(two)
    expect(lockOf(three).takeOver()).to.equal(true)
    lockOf(three).release()
  })

  it('is found again by a thread whose JavaScript was ended before it could release it', () => {
    const [one, two] = engines(2) as [Engine, Engine]
    lockOf(one).tryTake()
    one.put('key', Buffer.from('value'))
    expect(lockOf(two).tryTake()).to.equal(true)
    lockOf(two).release()
  })
})
