// The soak itself: that its parts can fail, and a few spells of it.
import { closeSync, mkdtempSync, openSync, realpathSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect } from 'chai'
import { valueOf } from '../../crash-tests/lib/workload.js'
import { Lane, WrongContents, type Flight } from '../../crash-tests/soak/lane.js'
import { judge, LEAST_SAMPLES, sampleSelf } from '../../crash-tests/soak/resources.js'
import { Soak } from '../../crash-tests/soak/soak.js'

const series = (values: number[], slack = 3) => ({ name: 'heap', unit: 'MiB', slack, most: 100, values })
/** Up to `amount` above or below, in no order, the same each time. */
const noise = (i: number, amount: number): number => amount * Math.sin(i * 12.9898 + 4)

describe('the soak', () => {
  let directory: string
  beforeEach(() => (directory = mkdtempSync(join(realpathSync(tmpdir()), 'mmapdb-soak-'))))
  afterEach(() => rmSync(directory, { recursive: true, force: true }))

  describe('tells growth from noise', () => {
    it('calls flat what only swings, has outliers, or warms up and then stays', () => {
      expect(judge(series(Array.from({ length: 40 }, (_, i) => 20 + noise(i, 4)))).problem).to.equal(undefined)
      expect(judge(series(Array.from({ length: 40 }, (_, i) => (i % 9 === 0 ? 60 : 20)))).problem).to.equal(undefined)
      expect(judge(series(Array.from({ length: 40 }, (_, i) => 20 + Math.min(i, 15)))).problem).to.equal(undefined)
    })
    it('notices a slow leak under noise', () => {
      expect(judge(series(Array.from({ length: 200 }, (_, i) => 20 + i / 8 + noise(i, 1)))).problem).to.match(
        /goes on growing/,
      )
    })
    it('notices a leak of one descriptor in each sample', () => {
      expect(judge(series(Array.from({ length: LEAST_SAMPLES }, (_, i) => 20 + i))).problem).to.match(/goes on growing/)
    })
    it('notices a leak beneath what piles up and is collected', () => {
      expect(judge(series(Array.from({ length: 60 }, (_, i) => 20 + 2 * (i % 7)))).problem).to.equal(undefined)
      expect(judge(series(Array.from({ length: 60 }, (_, i) => 20 + 2 * (i % 7) + i / 4))).problem).to.match(
        /goes on growing/,
      )
    })
    it('does not call a few samples growth', () => {
      expect(judge(series([20, 20, 20.4, 21, 20.7, 22.9, 24.3, 26, 27, 30])).problem).to.equal(undefined)
    })
    it('notices what was once above the bound', () => {
      expect(judge(series([20, 20, 101, 20])).problem).to.match(/reaches 101/)
    })
  })

  it('counts files of modules only if they are left open: a thread that starts has hundreds for a moment', async () => {
    const module = join(directory, 'module.js')
    writeFileSync(module, '')
    const { descriptors } = await sampleSelf()
    const fds = Array.from({ length: 50 }, () => openSync(module, 'r'))
    try {
      expect((await sampleSelf(100)).descriptors).to.equal(descriptors + 50)
    } finally {
      setTimeout(() => fds.forEach((fd) => closeSync(fd)), 200)
    }
    expect((await sampleSelf()).descriptors).to.equal(descriptors)
  })

  describe('knows what a dead owner may have left', () => {
    /** A lane whose owner put keys 1 and 2 and died with a batch on them and then a delete of key 3 in flight. */
    function died(): {
      flights: [Flight, Flight]
      contents: Map<string, Buffer>
      apply: (flight: Flight, part?: number) => void
      lane: Lane
    } {
      const path = join(directory, 'lane')
      const owner = new Lane(path, 7)
      const contents = new Map<string, Buffer>()
      const apply = (flight: Flight, part = Infinity): void => {
        for (const o of owner.operationsOf(flight).slice(0, part)) {
          if (o.type === 'put') contents.set(o.key, o.value)
          else contents.delete(o.key)
        }
      }
      const first = owner.begin(
        [1, 2, 3].map((index) => ({ index, lengthBytes: 100 })),
        true,
      )
      apply(first)
      owner.settle(first)
      const flights: [Flight, Flight] = [
        owner.begin(
          [
            { index: 1, lengthBytes: 50 },
            { index: 2, lengthBytes: 5000 },
          ],
          true,
        ),
        owner.begin([{ index: 3, lengthBytes: undefined }], true),
      ]
      // The next owner has nothing but the file.
      return { flights, contents, apply, lane: new Lane(path, 7) }
    }
    it('takes what was acknowledged, with the writes in flight there or not', () => {
      const nothing = died()
      expect(nothing.lane.resolve((key) => nothing.contents.get(key))).to.equal(2)
      expect(nothing.lane.present).to.equal(3)
      rmSync(join(directory, 'lane'))
      const all = died()
      for (const flight of all.flights) all.apply(flight)
      all.lane.resolve((key) => all.contents.get(key))
      expect(all.lane.present).to.equal(2)
      expect(all.lane.inFlight).to.equal(0)
    })
    it('refuses half of a batch', () => {
      const { lane, contents, apply, flights } = died()
      apply(flights[0], 1)
      expect(() => lane.resolve((key) => contents.get(key))).to.throw(WrongContents, /half of a batch/)
    })
    it('refuses a write that took effect where one before it did not', () => {
      const { lane, contents, apply, flights } = died()
      apply(flights[1])
      expect(() => lane.resolve((key) => contents.get(key))).to.throw(WrongContents, /started before it, did not/)
    })
    it('refuses a value of another key, and none where one was acknowledged', () => {
      const { lane, contents } = died()
      contents.set(lane.key(1), valueOf(7, 1, 2, 100))
      expect(() => lane.resolve((key) => contents.get(key))).to.throw(WrongContents, /under lane7\/1 where/)
      contents.delete(lane.key(1))
      expect(() => lane.resolve((key) => contents.get(key))).to.throw(WrongContents, /finds nothing/)
    })
  })

  it('runs a few spells with threads and processes that come and go', async function () {
    this.timeout(90_000)
    const seed = Math.floor(Math.random() * 2 ** 31)
    const lines: string[] = []
    const soak = new Soak({
      directory,
      durationMs: Infinity,
      spells: 3,
      seed,
      spellMs: 800,
      restMs: 5,
      print: (line) => lines.push(line),
    })
    const { problems } = await soak.run()
    expect(problems, `npm run prove:soak -- --seed ${seed}\n${lines.join('\n')}`).to.deep.equal([])
  })
})
