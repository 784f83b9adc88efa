// The writes of simulated processes: their keys and values, and what must hold of each that is acknowledged or refused.
import { InvalidError, MmapdbError } from '../../src/errors.js'
import type { KeySpace } from '../../src/encoding/key-space.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../src/encoding/keys.js'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import { conditionsOf, type Conditions } from '../../src/engine/commit/conditions.js'
import type { Expiry } from '../../src/engine/commit/expiry.js'
import type { Engine } from '../../src/engine/engine.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { FRAME } from '../../src/wal/frame.js'
import { FrameBuilder } from '../../src/wal/frame-builder.js'
import { OP } from '../../src/wal/operation.js'
import { paddedBytes, type Lsn } from '../../src/wal/lsn.js'
import { filePosition } from '../../src/wal/segment.js'
import type { Random } from '../lib/random.js'
import type { Context } from './context.js'
import { modelAt, type ModelResult } from './frames.js'
import { SECTOR_BYTES } from './disk.js'
import type { Processes, SimProcess } from './processes.js'
import { isResultGone } from './result-gone.js'

export const keyOf = (n: number): string => `k${String(n).padStart(3, '0')}`

/** What a frame takes that holds one key and an empty value, two quotes. */
const SMALLEST_STRIDE = paddedBytes(
  FRAME.HEADER_BYTES + OP.HEADER_BYTES + encodeKey(keyOf(1), Buffer.alloc(KEY_BUFFER_BYTES)) + 2,
)

/** What the caller of a write was told; what it was not told is left out. */
type Told = Partial<ModelResult>

export const COUNTERS = 6
export const counterOf = (n: number): string => `n${n}`

export class Writes {
  readonly #context: Context
  readonly #processes: Processes
  #nextValue = 1
  /** The process that acts mostly writes. */
  isBurst = false

  constructor(context: Context, processes: Processes) {
    this.#context = context
    this.#processes = processes
  }

  get #random(): Random {
    return this.#context.random
  }

  // ---- what is written -------------------------------------------------------------------------

  #value(): string {
    const random = this.#random
    const roll = random.next()
    // Mostly of one length, as keys are: what a torn tail leaves lies where later frames may lead up to it.
    if (roll >= 0.1 && roll < 0.75) return this.usualValue()
    return `${this.#nextValue++}:`.padEnd(roll < 0.1 ? random.skewed(900, 20_000) : random.between(0, 120), 'v')
  }

  usualValue(): string {
    const { usualLength } = this.#context
    return usualLength > 0 && !(this.isBurst && this.#random.chance(0.8))
      ? this.#valueFilling(usualLength)
      : this.valueOf(this.#toEndOfSector())
  }

  #valueFilling(length: number): string {
    return `${this.#nextValue++}:`.padEnd(length, 'v')
  }

  /** A value that alone makes a frame which takes that many bytes of the log, if that can be. */
  valueOf(stride: number): string {
    return this.#valueFilling(Math.min(stride, 20_000) - SMALLEST_STRIDE)
  }

  /** From where the log ends to where a sector does that has room for a frame. */
  #toEndOfSector(): number {
    const { model, logFiles } = this.#context
    const end = model.endLsn
    const start = logFiles.segmentOf(end)
    const bytes = SECTOR_BYTES - ((start === undefined ? 0 : filePosition(start, end as Lsn)) % SECTOR_BYTES)
    return bytes > SMALLEST_STRIDE + 8 ? bytes : bytes + SECTOR_BYTES
  }

  /** Operations of one write to a store. `decides`: whether they may depend on what they find. */
  operations(engine: Engine, space: KeySpace, count: number, decides: boolean): BatchOperation<string>[] {
    return Array.from({ length: count }, () => this.#operation(engine, space, decides))
  }

  #operation(engine: Engine, space: KeySpace, decides: boolean): BatchOperation<string> {
    const random = this.#random
    const key = keyOf(random.skewed(1, 300))
    if (decides && random.chance(0.3)) {
      // Hardly ever one that has no number.
      const counter = random.chance(0.97) ? counterOf(random.between(1, COUNTERS)) : key
      if (random.chance(0.7)) return { type: 'add', key: counter, delta: random.between(-3, 9), ...this.#expiry() }
      return { type: 'check', key, ...(this.#condition(engine, space, key) ?? { ifPresent: true }) }
    }
    const condition = decides && random.chance(0.5) ? this.#condition(engine, space, key) : undefined
    return random.chance(0.75)
      ? { type: 'put', key, value: this.#value(), ...condition, ...this.#expiry() }
      : { type: 'del', key, ...condition }
  }

  /** When an entry expires, if it does: mostly a few operations later. */
  #expiry(): Expiry {
    const roll = this.#random.next()
    if (roll < 0.7) return {}
    return roll < 0.95
      ? { ttlMs: this.#random.skewed(1, 500) }
      : { expiresAt: this.#context.world.clocks.systemMs + this.#random.between(-50, 100) }
  }

  /** Removes what has expired. */
  sweep(actor: SimProcess): void {
    actor.engine!.sweep(this.#random.between(1, 3))
  }

  /** In one batch, or a single one by the call of its own. Returns what it was told. */
  #writeAll(engine: Engine, operations: readonly BatchOperation<string>[]): Told {
    const [first] = operations
    if (first !== undefined && operations.length === 1 && this.#random.chance(0.7)) {
      const { key, ifVersion, ifAbsent, ifPresent } = first
      if (first.type === 'del') return { removed: engine.del(key, conditionsOf(ifVersion, ifAbsent, ifPresent)) }
      if (first.type === 'add') return { sum: engine.add(key, first.delta) as number }
    }
    return { took: this.#batch(engine, operations) }
  }

  /** Waiting for the flush, or as one does who cannot wait: the flush runs beside those of others, under no lock. */
  #batch(engine: Engine, operations: readonly BatchOperation<string>[]): boolean {
    if (this.#context.schedule.seedFor('apart') % 3 > 0) return engine.batch(operations)
    const frame = new FrameBuilder()
    engine.operations.batch(frame, operations)
    const bytes = frame.frame()
    const begun = engine.commits.beginWritesSoon(bytes) ?? engine.commits.beginWrites(bytes)
    if (begun.refused[0] !== undefined) throw begun.refused[0].error
    const { failed, results } = engine.commits.finishWrites(begun, leadApart(engine.parts))
    if (failed[0] !== undefined) throw failed[0].error
    return results[0]?.took ?? true
  }

  /** A condition that may hold; others may write before the write that has it. */
  #condition(engine: Engine, space: KeySpace, key: string): Conditions {
    const roll = this.#random.next()
    if (roll < 0.15) return { ifAbsent: true }
    if (roll < 0.3) return { ifPresent: true }
    const version = engine.getEntry(key, space)?.version ?? 0
    if (this.#random.chance(0.5)) this.#context.world.step('between reading and writing')
    return { ifVersion: version }
  }

  // ---- writing ---------------------------------------------------------------------------------

  write(actor: SimProcess): void {
    this.commit(actor, (engine) => {
      if (this.isBurst && this.#random.chance(0.7))
        return {
          took: this.#batch(engine, [
            { type: 'put', key: keyOf(this.#random.skewed(1, 300)), value: this.usualValue() },
          ]),
        }
      const count = this.#random.chance(0.3) ? this.#random.between(2, 20) : 1
      const decides = this.#random.chance(0.4)
      return this.#writeAll(engine, this.operations(engine, engine.main, count, decides))
    })
  }

  writeMuch(actor: SimProcess): void {
    this.commit(actor, (engine) => ({ took: engine.batch(this.manyOperations()) }))
  }

  /** So many that the tree has levels. */
  manyOperations(): BatchOperation<string>[] {
    const from = this.#random.between(0, 500)
    const count = this.#random.between(50, 300)
    const del = this.#random.chance(0.3)
    return Array.from({ length: count }, (_, i) =>
      del
        ? { type: 'del' as const, key: keyOf(from + i) }
        : { type: 'put' as const, key: keyOf(from + i), value: this.#value() },
    )
  }

  /**
   * A write: acknowledged, or refused and not in the log, unless its error says that this is not known. Returns what it
   * was told.
   */
  commit(actor: SimProcess, write: (engine: Engine) => Told): Told {
    const engine = actor.engine!
    const tail = (): number => engine.parts.control.append.read(newAppendFields()).tailLsn
    const before = tail()
    let told: Told
    try {
      told = write(engine)
    } catch (error) {
      if (isResultGone(engine, error)) {
        this.acknowledge()
        return {}
      }
      if (!(error instanceof InvalidError)) this.#failed(actor, error, before, tail)
      told = { isRefused: true }
    }
    this.acknowledge()
    this.#compareResult(told)
    return told
  }

  /** Rethrows an error, if the write may have failed with that. */
  #failed(actor: SimProcess, error: unknown, before: number, tail: () => number): never {
    const { world, model } = this.#context
    const isRefused = error instanceof MmapdbError && error.code !== 'ERR_MMAPDB_OUTCOME_UNKNOWN'
    if (isRefused && !actor.dead && world.outage === undefined) {
      const now = tail()
      const inLog = model.frames.find(
        ({ writer, lsn, end, operations }) =>
          // It may have removed what had expired, to make room.
          operations.some(({ isSweep, isOfIndex }) => !isSweep && !isOfIndex) &&
          writer === actor.name &&
          lsn >= before &&
          end <= now,
      )
      if (inLog !== undefined)
        throw this.#context.failure(
          `${actor.name} is told that nothing was written (${error.code}), and its frame is at LSN ${inLog.lsn}`,
        )
    }
    throw error
  }

  /** The write that has just been acknowledged had the result that the log says. */
  #compareResult(told: Told): void {
    const { model } = this.#context
    const end = this.#processes.running!.engine!.lastCommit
    const frame = model.frames.find((each) => each.end === end)
    if (frame === undefined) return
    const before = modelAt(model.frames, frame.lsn)
    const expected: Told = before.apply(frame)[0]!
    if (before.stray !== undefined) throw this.#context.failure(before.stray)
    for (const [name, value] of Object.entries(told)) {
      if (expected[name as keyof Told] !== value)
        throw this.#context.failure(
          `the write at LSN ${frame.lsn} was told ${name}: ${String(value)}, and should have been told ${JSON.stringify(expected)}`,
        )
    }
  }

  /** Everything that this process can see by now includes the write that it has just been told is safe. */
  acknowledge(): void {
    const { model, report } = this.#context
    const actor = this.#processes.running!
    report.acknowledged++
    // The write that was acknowledged lies before what is visible and on disk.
    model.acknowledgedLsn = Math.max(model.acknowledgedLsn, actor.engine!.lastCommit)
  }
}

/** What flush-apart.ts does in two turns of an event loop. Returns why the flush failed, if it did. */
function leadApart({ committer, control, log }: Engine['parts']): Error | undefined {
  const end = committer.logEnd()
  const segment = log.segment(end.segmentStartLsn as Lsn, end.segmentSalt)
  if (segment === undefined) return undefined
  try {
    control.stopOnFailedFlush(() => log.flush(segment))
    committer.leadFlushed(end)
    return undefined
  } catch (error) {
    if (error instanceof MmapdbError) return error
    throw error
  }
}
