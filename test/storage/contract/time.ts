// Time and random bytes.
import { expect } from 'chai'
import { type Test } from './setting.js'

export function time(test: Test): void {
  test('time goes on while a thread sleeps, and never back', ({ storage }) => {
    const [clock, wall] = [storage.monotonicMs(), storage.now()]
    storage.sleep(20)
    expect(storage.monotonicMs() - clock).to.be.at.least(19)
    expect(storage.now() - wall).to.be.at.least(10)
  })

  test('there are as many random bytes as were asked for', ({ storage }) => {
    for (const count of [0, 1, 16, 1000]) expect(storage.randomBytes(count)).to.have.length(count)
    expect(new Set(storage.randomBytes(1000)).size).to.be.above(100)
  })
}
