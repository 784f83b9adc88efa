// The table of record locks on one thread, against a model; and what a thread leaves that dies between any two of
// its stores. If this failed, two would have the same lock, or nobody could have one any more.
import { expect } from 'chai'
import { LOCK_POINTS, observeCrashPoints } from '../../../src/crash-points.js'
import { EXCLUSIVE, hashOf, RECORD, SHARED } from '../../../src/engine/locks/lock-layout.js'
import { rebuild } from '../../../src/engine/locks/lock-rebuild.js'
import type { LockRequests } from '../../../src/engine/locks/lock-requests.js'
import { ownerOf, seatOf } from '../../../src/engine/shared/seats.js'
import { seeded } from '../../support/engine.js'
import { emptyTable, problemsOf } from '../../support/lock-table.js'

interface ModelRequest {
  readonly key: number
  readonly mode: number
  readonly owner: number
  isGranted: boolean
}

/** Queues as they should be. */
class Model {
  readonly queues = new Map<number, ModelRequest[]>()

  of(key: number): ModelRequest[] {
    let queue = this.queues.get(key)
    if (queue === undefined) this.queues.set(key, (queue = []))
    return queue
  }
  #grant(key: number): void {
    for (const request of this.of(key)) {
      const granted = this.of(key).filter((other) => other.isGranted && other !== request)
      const may = granted.length === 0 || (request.mode === SHARED && granted.every(({ mode }) => mode === SHARED))
      if (!request.isGranted && !may) return
      request.isGranted = true
    }
  }
  add(key: number, mode: number, owner: number): ModelRequest {
    const request = { key, mode, owner, isGranted: false }
    this.of(key).push(request)
    this.#grant(key)
    return request
  }
  remove(request: ModelRequest): void {
    this.queues.set(
      request.key,
      this.of(request.key).filter((other) => other !== request),
    )
    this.#grant(request.key)
  }
}

/** Of every length around those where a key takes another cell; two of a length differ in their last byte. */
const KEYS = [1, 2, 31, 32, 33, 87, 88, 89, 144, 145, 1023, 1024].flatMap((length) =>
  [1, 2].map((last) => Buffer.alloc(length, 7).fill(last, length - 1)),
)
const OWNERS = [0, 1, 2, 3].map((seat) => ownerOf(seat, 1))

class Death extends Error {}

/** Runs `act`, and ends it at the `n`-th point that it reaches. True if it was ended. */
function diesAt(n: number, act: () => void): boolean {
  observeCrashPoints((point) => {
    if ((LOCK_POINTS as readonly string[]).includes(point) && n-- === 0) throw new Death()
  })
  try {
    act()
    return false
  } catch (error) {
    if (!(error instanceof Death)) throw error
    return true
  } finally {
    observeCrashPoints(undefined)
  }
}

describe('the table of record locks', function () {
  this.timeout(60_000)

  const tables: ReturnType<typeof emptyTable>[] = []
  const makeTable = (): LockRequests => {
    const table = emptyTable()
    tables.push(table)
    return table.requests
  }
  afterEach(() => {
    for (const { region } of tables.splice(0)) region.close()
  })

  const expectWhole = (requests: LockRequests): void => void expect(problemsOf(requests)).to.deep.equal([])
  /** All hashes are the same, or all are different: both must do. */
  const hashing = (isBad: boolean) => (key: Buffer) => (isBad ? 5 : hashOf(key, 3))

  for (const isBad of [false, true]) {
    it(`grants as the model does, and loses no cell${isBad ? ', if all keys have one hash' : ''}`, () => {
      seeded((random) => {
        const requests = makeTable()
        const hash = hashing(isBad)
        const model = new Model()
        const live = new Map<ModelRequest, number>()
        const pick = <T>(from: readonly T[]): T => from[Math.floor(random() * from.length)]!
        for (let step = 0; step < 3000; step++) {
          if (live.size === 0 || random() < 0.52) {
            const key = Math.floor(random() * KEYS.length)
            const mode = random() < 0.5 ? SHARED : EXCLUSIVE
            const owner = pick(OWNERS)
            const bytes = KEYS[key]!
            const isFree = requests.isFree(requests.find(bytes, hash(bytes)), mode)
            const request = model.add(key, mode, owner)
            live.set(request, requests.add(bytes, hash(bytes), mode, owner))
            expect(isFree).to.equal(request.isGranted)
          } else {
            const [request, cell] = pick([...live])
            model.remove(request)
            live.delete(request)
            requests.remove(cell)
          }
          for (const [request, cell] of live) expect(requests.isGranted(cell)).to.equal(request.isGranted)
          if (step % 300 === 0) expectWhole(requests)
          if (random() < 0.05) requests.takeNews(seatOf(pick(OWNERS)))
        }
        for (const cell of live.values()) requests.remove(cell)
        expectWhole(requests)
        for (const key of KEYS) expect(requests.find(key, hash(key))).to.equal(0)
      })
    })
  }

  it('is made whole again after a death at any point of a change, also of the one that makes it whole', () => {
    seeded((random) => {
      let deaths = 0
      for (let round = 0; round < 60; round++) {
        const requests = makeTable()
        const hash = hashing(round % 2 === 0)
        let live: { cell: number; ticket: number; owner: number }[] = []
        for (let step = 0; step < 60; step++) {
          const before = live.filter(({ cell }) => requests.isGranted(cell)).map(({ ticket }) => ticket)
          const key = KEYS[Math.floor(random() * KEYS.length)]!
          const owner = OWNERS[Math.floor(random() * OWNERS.length)]!
          const victim = live[Math.floor(random() * live.length)]
          const isDead = diesAt(random() < 0.3 ? Math.floor(random() * 3) : 1000, () => {
            if (victim === undefined || random() < 0.55) {
              const cell = requests.add(key, hash(key), random() < 0.5 ? SHARED : EXCLUSIVE, owner)
              live.push({ cell, ticket: requests.ticketOf(cell), owner })
            } else requests.remove(victim.cell)
          })
          if (isDead) {
            deaths++
            if (random() < 0.5) diesAt(0, () => rebuild(requests))
            rebuild(requests)
            expectWhole(requests)
          }
          live = live.filter(({ cell, ticket, owner: by }) => requests.isStill(cell, ticket, by))
          const after = new Set(live.filter(({ cell }) => requests.isGranted(cell)).map(({ ticket }) => ticket))
          const lost = before.filter((ticket) => !after.has(ticket) && ticket !== victim?.ticket)
          expect(lost, 'what was granted stays granted').to.deep.equal([])
        }
        for (const seat of [0, 1, 2, 3]) requests.removeOf(seat, 0)
        expectWhole(requests)
      }
      expect(deaths).to.be.above(100)
    })
  })

  it('removes all that one seat has and wants, and grants what the others wait for', () => {
    const requests = makeTable()
    const hash = hashing(false)
    const [dead, alive] = OWNERS as [number, number]
    const add = (key: number, mode: number, owner: number): number =>
      requests.add(KEYS[key]!, hash(KEYS[key]!), mode, owner)
    add(0, EXCLUSIVE, dead)
    add(0, EXCLUSIVE, dead)
    const first = add(0, SHARED, alive)
    const second = add(0, SHARED, alive)
    add(0, EXCLUSIVE, dead)
    const third = add(0, SHARED, alive)
    add(1, SHARED, dead)
    const fourth = add(1, SHARED, alive)
    const fifth = add(1, EXCLUSIVE, alive)
    expect(requests.removeOf(seatOf(dead), 0)).to.equal(5 - 1)
    expectWhole(requests)
    expect([first, second, third, fourth, fifth].map((cell) => requests.isGranted(cell))).to.deep.equal([
      true,
      true,
      true,
      true,
      false,
    ])
    expect(requests.takeNews(seatOf(alive))).to.deep.equal([first, second, third])
    expect(requests.hasNews(seatOf(alive))).to.equal(false)
  })

  it('goes on with the cells that are free when its file cannot grow', () => {
    const requests = makeTable()
    const { memory } = requests
    const { region } = memory
    const fill = (name: string): number[] => {
      const cells: number[] = []
      const grow = region.grow.bind(region)
      region.grow = () => {
        throw new Error('the disk is full')
      }
      try {
        for (let i = 0; i < 100_000; i++) {
          const key = Buffer.from(`a key that takes more than one cell, and has a number: ${name}${i}`)
          cells.push(requests.add(key, hashOf(key, 0), EXCLUSIVE, OWNERS[0]!))
        }
      } catch (error) {
        expect((error as Error).message).to.match(/the disk is full/)
      } finally {
        region.grow = grow
      }
      return cells
    }
    requests.add(KEYS[0]!, 0, EXCLUSIVE, OWNERS[1]!)
    const cells = fill('a')
    expect(cells.length).to.be.within(100, 99_999)
    expectWhole(requests)
    for (const cell of cells.slice(0, 10)) requests.remove(cell)
    expect(fill('b').length, 'as many as were removed').to.equal(10)
    expectWhole(requests)
    expect(memory.get(requests.find(KEYS[0]!, 0), RECORD.KEY_LENGTH)).to.equal(1)
  })
})
