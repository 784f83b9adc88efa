// What was decided about a write, as the log says it. If these failed, a writer would be told the result of another
// write, or none although there is one, and a reader of the log would take for done what was refused.
import { expect } from 'chai'
import fc from 'fast-check'
import { Schedule } from '../../../crash-tests/sim/schedule.js'
import { World } from '../../../crash-tests/sim/world.js'
import { observeCrashPoints } from '../../../src/crash-points.js'
import { resultsOf } from '../../../src/engine/commit/results.js'
import type { CommitPath, Finished } from '../../../src/engine/commit-path.js'
import { Engine } from '../../../src/engine/engine.js'
import { resolveOptions } from '../../../src/engine/options.js'
import { changesOf } from '../../../src/wal/changes.js'
import { FrameBuilder, UNCONDITIONAL } from '../../../src/wal/frame-builder.js'
import { FRAME } from '../../../src/wal/frame.js'
import { newAppendFields } from '../../../src/wal/append-state.js'
import { LogReader } from '../../../src/wal/log-reader.js'
import { lsnBefore, type Lsn } from '../../../src/wal/lsn.js'
import { OP_FLAG, operationsOf } from '../../../src/wal/operation.js'
import {
  DecidedCursor,
  forEachOutcome,
  isOutcomeFrame,
  mostOutcomeBytes,
  outcomeFrames,
} from '../../../src/wal/outcomes.js'
import { runs } from '../../support/engine.js'
import { Faults, FaultyStorage } from '../../support/faulty-storage.js'

const OPTIONS = resolveOptions('/db', {
  workers: 0,
  windowBytes: 65536,
  reserveBytes: 64 * 1024 * 1024,
  segmentBytes: 8192,
  checkpointBytes: 65536,
  timeoutMs: 1,
})

const openIn = (world: World, name: string, options = OPTIONS): Engine =>
  Engine.open(options, world.storageFor({ name, dead: false }))

function openFaulty(world: World, name: string): { engine: Engine; faults: Faults } {
  const faults = new Faults()
  const storage = new FaultyStorage(world.storageFor({ name, dead: false }), faults)
  return { engine: Engine.open(OPTIONS, storage), faults }
}

/** Writes that share a frame. */
function frameOf(...writes: ((builder: FrameBuilder) => void)[]): Buffer {
  const builder = new FrameBuilder()
  for (const write of writes) {
    const one = new FrameBuilder()
    write(one)
    builder.append(one)
  }
  return builder.take()
}

describe('outcomes in the log', () => {
  it('reach the writer of a frame that another process has applied', () => {
    const world = new World(new Schedule(1))
    const writer = openIn(world, 'writer')
    const leader = openIn(world, 'leader')
    writer.put('there', 'text')
    const { operations } = writer
    const ifAbsent = { flags: OP_FLAG.IF_ABSENT, version: 0 }
    const frames = [
      frameOf(
        (frame) => operations.put(frame, 'there', 1, ifAbsent),
        (frame) => operations.add(frame, 'n', 5),
        (frame) => operations.del(frame, 'never there'),
        (frame) => operations.add(frame, 'there', 1),
        (frame) => operations.put(frame, 'new', 1, UNCONDITIONAL),
      ),
      frameOf(
        (frame) => operations.add(frame, 'n', 2),
        (frame) => operations.del(frame, 'there'),
      ),
    ]
    const ends = frames.map((frame) => writer.parts.committer.append(frame))
    leader.parts.committer.waitForAll()
    // What the leader has decided since is in its memory no more.
    for (let i = 0; i < 3; i++) leader.del(`more ${i}`)
    const [first, second] = frames.map((frame, i) => {
      const outcome = writer.parts.committer.outcomeOf(lsnBefore(ends[i]!, frame.length), ends[i]!)
      return resultsOf(frame, outcome)
    })
    expect(first!.map((result) => (result instanceof Error ? result.message : result))).to.deep.equal([
      { took: false, removed: false, sum: undefined },
      { took: true, removed: false, sum: 5 },
      { took: true, removed: false, sum: undefined },
      'The entry of "there" is no number, so nothing can be added to it. Nothing was changed.',
      { took: true, removed: false, sum: undefined },
    ])
    expect(second).to.deep.equal([
      { took: true, removed: false, sum: 7 },
      { took: true, removed: true, sum: undefined },
    ])
    // And a reader of the log, who has no tree.
    const outcome = writer.parts.committer.outcomeOf(lsnBefore(ends[0]!, frames[0]!.length), ends[0]!)
    const changed = [...changesOf(frames[0]!, 0, frames[0]!.length, outcome)].map(({ key }) => key.toString('latin1'))
    expect(changed).to.deep.equal(['n', 'new'])
    for (const engine of [writer, leader]) engine.close()
  })

  it('reach the writer of a frame whose leader died after others had been written right behind it', () => {
    const world = new World(new Schedule(1))
    const writer = openIn(world, 'writer')
    const next = openIn(world, 'next')
    const mortal = { name: 'mortal', dead: false }
    const leader = Engine.open(OPTIONS, world.storageFor(mortal))
    const before = leader.commits.beginWrites(frameOf((frame) => leader.operations.add(frame, 'n', 5)))
    let begun: ReturnType<CommitPath['beginWrites']> | undefined
    let groups = 0
    try {
      observeCrashPoints((point) => {
        // The leader knows what its group is: this frame comes after it, and what it decides comes after this frame.
        if (point === 'mid-apply')
          begun ??= writer.commits.beginWrites(frameOf((frame) => writer.operations.add(frame, 'n', 2)))
        if (point === 'after-outcomes' && ++groups === 2) world.kill(mortal)
      })
      // What it is told is of no use to one that is dead.
      leader.commits.finishWrites(before)
      expect(() => leader.parts.committer.waitForAll()).to.throw()
    } finally {
      observeCrashPoints(undefined)
    }
    expect(mortal.dead).to.equal(true)
    world.remove(mortal)
    next.parts.committer.waitForAll()
    expect(writer.commits.finishWrites(begun!)).to.deep.equal({
      failed: [],
      results: [{ took: true, removed: false, sum: 7 }],
    })
    for (const engine of [writer, next]) engine.close()
  })

  it('stay in the log until their writers have read them, whatever is checkpointed meanwhile', () => {
    const world = new World(new Schedule(1))
    const writer = openIn(world, 'writer')
    const leader = openIn(world, 'leader')
    const makeLong = (): void => {
      for (let i = 0; i < 50; i++) leader.put(`long ${i}`, 'x'.repeat(3000))
      leader.checkpoint(true)
    }
    makeLong()
    const begun = writer.commits.beginWrites(frameOf((frame) => writer.operations.add(frame, 'n', 5)))
    const atRisk = leader.parts.log.starts()[0]!
    leader.parts.committer.waitForAll()
    makeLong()
    makeLong()
    expect(leader.parts.log.starts()[0]).to.equal(atRisk)
    const { failed, results } = writer.commits.finishWrites(begun)
    expect(failed).to.deep.equal([])
    expect(results).to.deep.equal([{ took: true, removed: false, sum: 5 }])
    makeLong()
    expect(leader.parts.log.starts()[0], 'it has read them').to.be.above(atRisk)
    // Nobody waits for a writer that is dead.
    const mortal = { name: 'mortal', dead: false }
    const other = Engine.open(OPTIONS, world.storageFor(mortal))
    other.commits.beginWrites(frameOf((frame) => other.operations.add(frame, 'n', 5)))
    const ofMortal = leader.parts.log.starts()[0]!
    expect(() => world.kill(mortal)).to.throw()
    world.remove(mortal)
    makeLong()
    expect(leader.parts.log.starts()[0], 'its writer is dead').to.be.above(ofMortal)
    expect(leader.parts.pins.logNeededFrom()).to.equal(Infinity)
    for (const engine of [writer, leader]) engine.close()
  })

  it('reach their writer before room is made on a full disk by giving up that part of the log', () => {
    const world = new World(new Schedule(1))
    const writer = openIn(world, 'writer')
    const { engine: maker, faults } = openFaulty(world, 'maker')
    writer.put('before', 1)
    const begun = writer.commits.beginWrites(frameOf((frame) => writer.operations.add(frame, 'n', 5)))
    faults.arm({ calls: ['allocate'], code: 'ENOSPC', n: 1, lasting: true })
    let finished: Finished | undefined
    const step = world.step.bind(world)
    world.step = (what) => {
      step(what)
      if (what === 'sleep') finished ??= writer.commits.finishWrites(begun)
    }
    expect(() => maker.put('long', 'x'.repeat(9000)))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_FULL')
    world.step = step
    finished ??= writer.commits.finishWrites(begun)
    expect(finished).to.deep.equal({ failed: [], results: [{ took: true, removed: false, sum: 5 }] })
    expect(maker.parts.log.starts()[0], 'that part of the log is gone').to.be.above(begun.parts[0]!.lsn)
    // Nobody waits for ever for one that stands still.
    const standing = writer.commits.beginWrites(frameOf((frame) => writer.operations.add(frame, 'n', 5)))
    expect(() => maker.put('long', 'x'.repeat(9000)))
      .to.throw()
      .with.property('code', 'ERR_MMAPDB_FULL')
    const [failed] = writer.commits.finishWrites(standing).failed
    expect(failed?.error).to.have.property('code', 'ERR_MMAPDB_OUTCOME_UNKNOWN')
    for (const engine of [writer, maker]) engine.close()
  })

  it('are not lost by a thread that makes room for the rest of its writes', () => {
    const world = new World(new Schedule(1))
    const other = openIn(world, 'other')
    const { engine, faults } = openFaulty(world, 'one')
    engine.put('there', 1)
    faults.arm({ calls: ['allocate'], code: 'ENOSPC', n: 1, lasting: true })
    const { control } = engine.parts
    const isInLog = (): boolean => control.append.read(newAppendFields()).tailLsn > control.visibleLsn()
    let isApplied = false
    observeCrashPoints((point) => {
      if (isApplied || point !== 'before-lock' || !isInLog()) return
      isApplied = true
      other.parts.committer.waitForAll()
    })
    const { failed, results } = engine.commits.finishWrites(
      engine.commits.beginWrites(
        frameOf(
          (frame) => engine.operations.del(frame, 'there'),
          (frame) => engine.operations.put(frame, 'long', 'x'.repeat(9000), UNCONDITIONAL),
        ),
      ),
    )
    observeCrashPoints(undefined)
    expect(isApplied).to.equal(true)
    expect(results).to.deep.equal([{ took: true, removed: true, sum: undefined }])
    expect(failed.map(({ first, error }) => [first, (error as { code?: string }).code])).to.deep.equal([
      [1, 'ERR_MMAPDB_FULL'],
    ])
    for (const each of [engine, other]) each.close()
  })

  it('are on disk once a checkpoint includes their frames, and the log counts as flushed up to it', () => {
    const world = new World(new Schedule(1))
    const engine = openIn(world, 'one')
    engine.put('k', 1)
    engine.del('k')
    const { control } = engine.parts
    expect(control.durableLsn, 'nobody has flushed the outcome').to.be.below(control.visibleLsn())
    engine.checkpoint(true)
    expect(control.durableLsn).to.equal(control.visibleLsn())
    engine.close()
  })

  it('take no more room than was set aside for them', () => {
    const world = new World(new Schedule(1))
    const engine = openIn(world, 'one')
    const kinds = ['put', 'put if', 'del', 'add', 'add more'] as const
    fc.assert(
      fc.property(
        fc.array(fc.array(fc.constantFrom(...kinds), { minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 5 }),
        (list) => {
          const { operations } = engine
          const frame = frameOf(
            ...list.map((write) => (builder: FrameBuilder) => {
              for (const kind of write) {
                if (kind === 'del') operations.del(builder, 'k')
                else if (kind === 'add') operations.add(builder, 'n', 1)
                else if (kind === 'add more') operations.add(builder, 'b', 10n ** 300n)
                else
                  operations.put(
                    builder,
                    'k',
                    1,
                    kind === 'put' ? UNCONDITIONAL : { flags: OP_FLAG.IF_ABSENT, version: 0 },
                  )
              }
            }),
          )
          const most = mostOutcomeBytes(frame)
          const end = engine.parts.committer.append(frame)
          engine.parts.committer.waitForAll()
          if (most === 0) return
          const outcome = engine.parts.committer.outcomeOf(lsnBefore(end, frame.length), end)
          expect(outcomeFrames(new Map([[1, outcome]]))[0]!.length).to.be.at.most(most)
          const decided = new DecidedCursor(operationsOf(frame), outcome)
          let steps = 0
          while (decided.next()) steps++
          expect(steps).to.equal(list.flat().length)
        },
      ),
      runs(100),
    )
    engine.close()
  })

  it('share a frame as long as it is not too long for those who read the log', () => {
    const world = new World(new Schedule(1))
    // An add is promised several slots.
    const options = { ...OPTIONS, reserveBytes: 2 ** 31 }
    const writer = openIn(world, 'writer', options)
    const leader = openIn(world, 'leader', options)
    const { committer, control, log } = leader.parts
    const from = control.visibleLsn() as Lsn
    const sum = 10n ** 400n
    const appended = [8000, 1, 20_000, 40_000].map((adds, i) => {
      const builder = new FrameBuilder()
      for (let n = 0; n < adds; n++) writer.operations.add(builder, `${i} ${n % 100}`, n < 100 ? sum : 0n)
      const frame = builder.take()
      return { frame, adds, end: writer.parts.committer.append(frame) }
    })
    committer.waitForAll()
    expect(control.visibleLsn()).to.equal(control.append.read(newAppendFields()).tailLsn)
    const lengths: number[] = []
    for (const reader = new LogReader(log, from); reader.next(control.visibleLsn() as Lsn);)
      if (isOutcomeFrame(reader.bytes, reader.at)) lengths.push(reader.lengthBytes)
    expect(lengths.map((bytes) => bytes > 4.1 * 2 ** 20)).to.deep.equal([false, false, true])
    for (const { frame, adds, end } of appended) {
      const outcome = writer.parts.committer.outcomeOf(lsnBefore(end, frame.length), end)
      const decided = new DecidedCursor(operationsOf(frame), outcome)
      let sums = 0
      while (decided.next()) sums += decided.sum!.length > 160 ? 1 : 0
      expect(sums).to.equal(adds)
    }
    for (const engine of [writer, leader]) engine.close()
  })

  it('that are malformed are damage, and nothing else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), fc.nat({ max: 5 }), (inside, count) => {
        const frame = Buffer.concat([Buffer.alloc(FRAME.HEADER_BYTES), inside])
        frame.writeUInt32LE(count, FRAME.OP_COUNT)
        try {
          forEachOutcome(frame, 0, frame.length, (_lsn, outcome) =>
            expect(outcome.byteOffset + outcome.length).to.be.at.most(frame.byteOffset + frame.length),
          )
        } catch (error) {
          expect((error as { code?: string }).code).to.equal('ERR_MMAPDB_CORRUPT')
        }
      }),
      runs(2000),
    )
  })
})
