// What a writer writes: operation n of a writer follows from its spec and n alone, so that the
// check can tell of each value in a database which operation wrote it, and make it again to compare.
//
// A writer has keys of its own (those of its lane; no two writers of one life have the same lane)
// and shares a few with all others.
import { mix, Random } from './random.js'

export interface WriterSpec {
  /** Unlike that of every other writer of the round. */
  readonly id: number
  readonly lane: number
  readonly seed: number
  readonly ownKeys: number
  readonly sharedKeys: number
  /** Share of values longer than 100 KB. */
  readonly largeShare: number
  /** Operations in flight at a time; 1: each is acknowledged before the next is started. */
  readonly depth: number
}

/** One step of an operation. `lengthBytes` undefined: the key is deleted. */
interface Step {
  readonly key: string
  readonly lengthBytes: number | undefined
}

const MIN_VALUE_BYTES = 16
const MAX_BATCH = 12

export const ownKey = (lane: number, n: number): string => {
  // A few long ones, so that branches have few children and slots split early.
  const pad = n % 11 === 3 ? 'x'.repeat(40 + ((n * 37) % 600)) : ''
  return `lane${lane}/${n}${pad}`
}
export const sharedKey = (n: number): string => `shared/${n}`

/** Lengths around every border there is, and ordinary ones. */
export function valueLength(random: Random, keyLength: number, largeShare: number): number {
  const x = random.next()
  if (x < largeShare) return random.between(100_001, 320_000)
  if (x < largeShare + 0.05) return random.between(4_000, 30_000)
  // Inline or overflow: 1016 bytes for entry, cell header, key and value.
  if (x < largeShare + 0.15) return Math.max(MIN_VALUE_BYTES, 1000 - keyLength + random.between(-6, 6))
  // The ends of one, two and three overflow slots.
  if (x < largeShare + 0.2) return 4064 * random.between(1, 3) + random.between(-2, 2)
  return random.skewed(MIN_VALUE_BYTES, 900)
}

/** The steps of operation `n`: one put or delete, or a batch of up to twelve. */
export function stepsOf(spec: WriterSpec, n: number): Step[] {
  const random = new Random(mix(spec.seed, n))
  const count = random.chance(0.25) ? random.between(2, MAX_BATCH) : 1
  const steps: Step[] = []
  for (let i = 0; i < count; i++) {
    const key =
      spec.sharedKeys > 0 && random.chance(0.1)
        ? sharedKey(random.between(0, spec.sharedKeys - 1))
        : ownKey(spec.lane, random.between(0, spec.ownKeys - 1))
    const lengthBytes = random.chance(0.2) ? undefined : valueLength(random, key.length, spec.largeShare)
    steps.push({ key, lengthBytes })
  }
  return steps
}

const VALUE = { WRITER: 0, OPERATION: 4, STEP: 8, LENGTH: 12 } as const

/** The value that a step puts. No two steps of a round put the same. */
export function valueOf(writer: number, operation: number, step: number, lengthBytes: number): Buffer {
  const value = Buffer.allocUnsafe(lengthBytes)
  // 13 bytes, so that no two slots or sectors of a long value are alike.
  const filler = Buffer.alloc(13)
  for (let i = 0; i < 12; i += 4) filler.writeUInt32LE(mix(writer, operation, step, i), i)
  value.fill(filler, MIN_VALUE_BYTES)
  value.writeUInt32LE(writer, VALUE.WRITER)
  value.writeUInt32LE(operation, VALUE.OPERATION)
  value.writeUInt32LE(step, VALUE.STEP)
  value.writeUInt32LE(lengthBytes, VALUE.LENGTH)
  return value
}

export type Operation = { type: 'put'; key: string; value: Buffer } | { type: 'del'; key: string }

/** Operation `n` as a database takes it. */
export const operationsOf = (spec: WriterSpec, n: number): Operation[] =>
  stepsOf(spec, n).map(({ key, lengthBytes }, i) =>
    lengthBytes === undefined ? { type: 'del', key } : { type: 'put', key, value: valueOf(spec.id, n, i, lengthBytes) },
  )

export interface ValueIdentity {
  readonly writer: number
  readonly operation: number
  readonly step: number
}

/** Which step put this value; undefined if it is not, byte for byte, what a step would put. */
export function identify(value: Uint8Array): ValueIdentity | undefined {
  if (value.length < MIN_VALUE_BYTES) return undefined
  const b = Buffer.from(value.buffer, value.byteOffset, value.byteLength)
  const writer = b.readUInt32LE(VALUE.WRITER)
  const operation = b.readUInt32LE(VALUE.OPERATION)
  const step = b.readUInt32LE(VALUE.STEP)
  return valueOf(writer, operation, step, b.length).equals(b) ? { writer, operation, step } : undefined
}
