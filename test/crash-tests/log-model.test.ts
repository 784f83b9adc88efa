import { expect } from 'chai'
import { stateAt } from '../../crash-tests/sim/frames.js'
import { LogModel } from '../../crash-tests/sim/log-model.js'
import { KeySpace } from '../../src/encoding/key-space.js'
import { valueCodec } from '../../src/encoding/values/codec.js'
import { sealFrame } from '../../src/wal/frame.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { lsnAfter, type Lsn } from '../../src/wal/lsn.js'

const space = new KeySpace(valueCodec('msgpack'))
const codec = valueCodec('msgpack')

function frameAt(lsn: number, key: string, value: string, timeMs = 0): Buffer {
  const builder = new FrameBuilder()
  const encoded = space.encoded(key)
  builder.put(encoded, encoded.length, Buffer.from(codec.encode(value)))
  const frame = Buffer.from(builder.take())
  sealFrame(frame, lsn as Lsn, lsn as Lsn, timeMs, 1)
  return frame
}

describe('the model of the log', () => {
  it('knows a frame that comes back from under the one that was written over it, and what recovery appended then', () => {
    const model = new LogModel()
    const lost = frameAt(9, 'k', 'a value that is longer')
    const end = lsnAfter(9 as Lsn, lost.length)
    model.noteFrame(lost, 'p1', 0)
    model.noteFrame(frameAt(9, 'k', 'short'), 'p2', 0)
    // The power is cut: the first one is on disk, and the second is not.
    const appended = frameAt(end, 'other', 'of recovery')
    model.noteFrame(appended, 'p3', 0)
    const toLsn = lsnAfter(end, appended.length)
    const found = stateAt(
      model.allFrames.filter(({ bytes }) => !bytes.includes('short')).sort((a, b) => a.lsn - b.lsn),
      toLsn,
    )
    expect(found.size).to.equal(2)
    model.settle(toLsn, found, 0, new Map())
    expect(model.frames.map(({ writer }) => writer)).to.deep.equal(['p1', 'p3'])
    expect(model.differenceAt(toLsn, found, 0)).to.equal(undefined)
  })

  it('knows it by what the log has, if both make the same of the database', () => {
    const model = new LogModel()
    const [lost, written] = [frameAt(9, 'k', 'value'), frameAt(9, 'k', 'value', 2)]
    model.noteFrame(lost, 'p1', 2)
    model.noteFrame(written, 'p2', 2)
    const toLsn = lsnAfter(9 as Lsn, lost.length)
    const found = stateAt(model.frames, toLsn)
    model.settle(toLsn, found, 0, new Map([[9, lost]]))
    expect(model.frames.map(({ writer }) => writer)).to.deep.equal(['p1'])
  })

  it('holds what recovery appends against the time of either, and of nothing earlier', () => {
    const lost = frameAt(9, 'k', 'value', 3)
    const end = lsnAfter(9 as Lsn, lost.length)
    for (const [timeMs, isRight] of [
      [2, false],
      [3, true],
    ] as const) {
      const model = new LogModel()
      model.noteFrame(lost, 'p1', 9)
      model.noteFrame(frameAt(9, 'k', 'value', 5), 'p2', 9)
      model.noteFrame(frameAt(end, 'other', 'of recovery', timeMs), 'p3', 9)
      expect(model.wrongTime === undefined, `${timeMs} ms`).to.equal(isRight)
    }
  })
})
