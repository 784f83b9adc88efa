import { expect } from 'chai'
import fc from 'fast-check'
import { readFileSync } from 'node:fs'
import { CorruptError } from '../../../src/errors.js'
import { findHeader } from '../../../src/engine/lifecycle/find-header.js'
import type { Engine } from '../../../src/engine/engine.js'
import type { Header } from '../../../src/engine/format/header.js'
import { ENTRY_CHILD_WORD, SLOT_BYTES, type SlotNo } from '../../../src/engine/format/layout.js'
import { Node } from '../../../src/engine/format/node.js'
import { hasSlot } from '../../../src/engine/format/runs.js'
import { Control, CONTROL_RESERVE_BYTES, controlWindowBytes } from '../../../src/engine/shared/control.js'
import { FreeAtOpening } from '../../../src/engine/space/free-at-opening.js'
import { readFreeList } from '../../../src/engine/space/free-list.js'
import { posixStorage } from '../../../src/storage/posix.js'
import { StorageError } from '../../../src/storage/storage.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  openEngine,
  rounds,
  scratchPath,
  TINY,
  writeBytes,
} from '../../support/engine.js'
import { resealed } from '../../support/hostile.js'

function headerOf({ options: { path } }: Engine): Header {
  const file = readFileSync(dataFile(path))
  return findHeader((slot) => file.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES), '').header!
}

describe('what was free when the database was opened', () => {
  afterEach(cleanUp)

  it('is told by binary search in runs of any length, across the windows of control', () => {
    const step = fc.tuple(fc.integer({ min: 1, max: 3 }), fc.integer({ min: 1, max: 2 ** 24 }))
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.nat(2 ** 30), (steps, probe) => {
        const windows = new Map<number, ArrayBuffer>()
        const window = (n: number): ArrayBuffer => {
          if (!windows.has(n)) windows.set(n, new ArrayBuffer(64))
          return windows.get(n)!
        }
        const region = { windowBytes: 64, window, grow: () => undefined }
        const control = { region, freeRunsAt: 4096, freeRuns: 0 } as unknown as Control
        const runs: number[] = []
        let at = 4
        for (const [gap, length] of steps) {
          runs.push(at + gap, length)
          at += gap + length
        }
        const free = new FreeAtOpening(control)
        free.write(Float64Array.from(runs))
        const probes = [
          probe,
          ...runs.flatMap((first, i) => (i % 2 === 0 ? [first - 1, first, first + runs[i + 1]!] : [])),
        ]
        for (const slot of probes) expect(free.has(slot), String(slot)).to.equal(hasSlot(Float64Array.from(runs), slot))
      }),
      { numRuns: rounds(300) },
    )
  })

  it('is marked slot by slot if a full disk has no room for the runs', () => {
    const region = posixStorage.openRegion('', {
      mode: 'anonymous',
      reserveBytes: CONTROL_RESERVE_BYTES,
      windowBytes: controlWindowBytes(0),
    })
    const control = new Control(region)
    control.format(Buffer.alloc(16), 100, 8)
    region.grow = () => {
      throw new StorageError('fallocate', 'ENOSPC', 'control')
    }
    const free = new FreeAtOpening(control)
    expect(free.write(Float64Array.of(10, 3, 20, 1))).to.equal(control.freeRunsAt)
    const mayBeLedTo = (slot: number): boolean => control.isUnverified(slot) && !free.has(slot)
    expect([9, 10, 11, 12, 13, 19, 20, 21].filter(mayBeLedTo)).to.deep.equal([9, 13, 19, 21])
    region.close()
  })

  it('is nowhere that a branch may lead, whatever was there once', () => {
    const engine = openEngine(scratchPath(), TINY)
    const fill = (): void => {
      for (let n = 0; n < 300; n++) engine.put(n, Buffer.alloc(300, n))
      engine.checkpoint(true)
    }
    fill()
    const { root } = headerOf(engine)
    fill()
    const header = headerOf(engine)
    const { space, checker } = engine.parts
    expect(hasSlot(readFreeList(space, checker, header).free, root), 'the old root is free').to.equal(true)
    // A leaf of the old tree is sound, and in the right place; only nothing keeps it from being written over.
    const old = new Node().at(space, root)
    const free = old.child(1)
    const path = crashCopy(engine.options.path)
    const file = readFileSync(dataFile(path))
    const branch = file.subarray(header.root * SLOT_BYTES, (header.root + 1) * SLOT_BYTES)
    const at = new Node().at(space, header.root)
    const entry = (at.entry(1) + ENTRY_CHILD_WORD) * 4 - space.byteOf(header.root)
    writeBytes(
      dataFile(path),
      header.root * SLOT_BYTES,
      resealed(branch, (slot) => slot.writeUInt32LE(free, entry)),
    )
    const again = openEngine(path, { ...TINY, readOnly: true })
    expect(() => [...again.range(undefined, 'entries')]).to.throw(CorruptError)
  })

  it('is not taken from a list that names a root', () => {
    const engine = openEngine(scratchPath(), TINY)
    for (let n = 0; n < 500; n++) engine.put(n, Buffer.alloc(300, n))
    engine.checkpoint(true)
    const header = headerOf(engine)
    const { space, checker } = engine.parts
    const [free] = readFreeList(space, checker, header).free
    for (const root of [{ root: free as SlotNo }, { trashRoot: free as SlotNo }])
      expect(() => readFreeList(space, checker, { ...header, ...root })).to.throw(CorruptError, /which is a root/)
  })
})
