// The writes of simulated processes: their keys and values, and what must hold of each that is acknowledged or refused.
import { MmapdbError } from '../../src/errors.js'
import { encodeKey, KEY_BUFFER_BYTES } from '../../src/encoding/keys.js'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Engine } from '../../src/engine/engine.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import { FRAME, OP } from '../../src/wal/frame.js'
import { paddedBytes } from '../../src/wal/lsn.js'
import type { Lsn } from '../../src/wal/lsn.js'
import { filePosition } from '../../src/wal/segment.js'
import type { Random } from '../lib/random.js'
import type { Context } from './context.js'
import { SECTOR_BYTES } from './disk.js'
import type { Processes, SimProcess } from './processes.js'

export const keyOf = (n: number): string => `k${String(n).padStart(3, '0')}`

/** What a frame takes that holds one key and an empty value. */
const SMALLEST_STRIDE = paddedBytes(
  FRAME.HEADER_BYTES + OP.HEADER_BYTES + encodeKey(keyOf(1), Buffer.alloc(KEY_BUFFER_BYTES)),
)

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

  #operation(): BatchOperation<string> {
    const key = keyOf(this.#random.skewed(1, 300))
    return this.#random.chance(0.75) ? { type: 'put', key, value: this.#value() } : { type: 'del', key }
  }

  // ---- writing ---------------------------------------------------------------------------------

  write(actor: SimProcess): void {
    this.#commit(actor, (engine) => {
      if (this.isBurst && this.#random.chance(0.7))
        return engine.put(keyOf(this.#random.skewed(1, 300)), this.usualValue())
      const count = this.#random.chance(0.3) ? this.#random.between(2, 20) : 1
      engine.batch(Array.from({ length: count }, () => this.#operation()))
    })
  }

  writeMuch(actor: SimProcess): void {
    const from = this.#random.between(0, 500)
    const count = this.#random.between(50, 300)
    const del = this.#random.chance(0.3)
    this.#commit(actor, (engine) =>
      engine.batch(
        Array.from({ length: count }, (_, i) =>
          del
            ? { type: 'del' as const, key: keyOf(from + i) }
            : { type: 'put' as const, key: keyOf(from + i), value: this.#value() },
        ),
      ),
    )
  }

  /** A write: acknowledged, or refused and not in the log, unless its error says that this is not known. */
  #commit(actor: SimProcess, write: (engine: Engine) => void): void {
    const { world, model } = this.#context
    const engine = actor.engine!
    const tail = (): number => engine.parts.control.append.read(newAppendFields()).tailLsn
    const before = tail()
    try {
      write(engine)
    } catch (error) {
      const isRefused = error instanceof MmapdbError && error.code !== 'ERR_MMAPDB_OUTCOME_UNKNOWN'
      if (isRefused && !actor.dead && world.outage === undefined) {
        const now = tail()
        const inLog = model.frames.find(({ writer, lsn, end }) => writer === actor.name && lsn >= before && end <= now)
        if (inLog !== undefined)
          throw this.#context.failure(
            `${actor.name} is told that nothing was written (${error.code}), and its frame is at LSN ${inLog.lsn}`,
          )
      }
      throw error
    }
    this.acknowledge()
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
