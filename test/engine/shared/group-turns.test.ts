// Who is woken when a group is published, and when a leader steps down. If this failed, writers would sleep for
// milliseconds after their writes are done, or all be woken for each of them.
import { expect } from 'chai'
import { GroupTurns } from '../../../src/engine/shared/group-turns.js'
import { posixStorage } from '../../../src/storage/posix.js'

describe('the turns of groups', () => {
  const region = posixStorage.openRegion('', { mode: 'anonymous', reserveBytes: 65536, windowBytes: 65536 })
  region.grow(4096)
  const turns = new GroupTurns(region, 0)
  after(() => region.close())

  /** What a writer waits for whose frame ends there, and whether it is woken by what happens then. */
  function isWokenBy(endLsn: number, act: () => void): boolean {
    const kind = turns.kindOf(endLsn)
    const seen = turns.turn(kind)
    act()
    return turns.turn(kind) !== seen
  }

  it('wake a writer when its group is published, and not with the one before', () => {
    for (let group = 1; group <= 5; group++) {
      const end = group * 100
      turns.begin(end)
      const next = turns.kindOf(end + 1)
      const seen = turns.turn(next)
      expect(isWokenBy(end, () => turns.pass())).to.equal(true)
      expect(turns.turn(next), 'who comes after it').to.equal(seen)
      expect(
        isWokenBy(end + 1, () => turns.callNext()),
        'one who may lead now',
      ).to.equal(true)
      // It is under way then, and publishes what the writer waits for.
      expect(
        isWokenBy(end + 1, () => {
          turns.begin(end + 100)
          turns.pass()
        }),
      ).to.equal(true)
      turns.begin(end)
    }
  })

  it('wake all when nobody can say whose turn it is', () => {
    turns.begin(1000)
    for (const end of [1000, 1001]) expect(isWokenBy(end, () => turns.callAll())).to.equal(true)
  })
})
