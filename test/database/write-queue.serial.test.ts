// Frames of writes whose workers are lost. If this failed, all later writes would wait for a turn that never comes.
import { expect } from 'chai'
import { nextTicket, passTicket } from '../../src/workers/append-order.js'
import { WriteQueue, type Committed, type Frame } from '../../src/database/write-queue.js'

const settled = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

describe('frames that are lost', () => {
  for (const lostInOrder of [
    [0, 1, 2],
    [2, 1, 0],
    [1, 2, 0],
    [2, 0, 1],
  ]) {
    it(`give their turns to those after them (lost in the order ${lostInOrder.join(', ')})`, async () => {
      const order = new Int32Array(new SharedArrayBuffer(4))
      const sent: { frame: Frame; resolve: (committed: Committed) => void; reject: (error: Error) => void }[] = []
      const writes = new WriteQueue({
        maxInFlightBytes: 65_536,
        maxFrames: 4,
        timeoutMs: 10_000,
        order,
        commit: (frame) => new Promise((resolve, reject) => sent.push({ frame, resolve, reject })),
        onCheckpointWanted: () => undefined,
      })
      const results: Promise<unknown>[] = []
      for (let i = 0; i < 4; i++) {
        results.push(
          writes
            .add(
              (frame) => frame.del(Buffer.from([i]), 1),
              ({ took }) => took,
            )
            .catch((error: Error) => error.message),
        )
        await settled()
      }
      expect(sent.map(({ frame }) => frame.ticket)).to.deep.equal([0, 1, 2, 3])
      for (const i of lostInOrder) {
        sent[i]!.reject(new Error(`lost ${i}`))
        await settled()
      }
      expect(order[0], 'it is the turn of the one that is left').to.equal(3)
      expect(passTicket(order, 3)).to.equal(true)
      sent[3]!.resolve({ checkpointWanted: false, failed: [], results: [] })
      expect(await Promise.all(results)).to.deep.equal(['lost 0', 'lost 1', 'lost 2', true])
      expect(order[0]).to.equal(nextTicket(3))
    })
  }
})
