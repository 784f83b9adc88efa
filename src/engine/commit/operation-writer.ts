// Writes puts, deletes and batches into frames. Reading keys, values and operations may run users' code, which may
// call the database. So a frame that is being written belongs to one call until that returns, and nothing else is
// half done meanwhile.
import type { KeySpace } from '../../encoding/key-space.js'
import { takenKey, type Key } from '../../encoding/keys.js'
import { InvalidError } from '../../errors.js'
import { NEVER } from '../../encoding/expiry-key.js'
import type { OpenState } from '../shared/open-state.js'
import { forEachTaken, type BatchOperation } from './batch.js'
import type { Clock } from './expiry.js'
import { MAX_VALUE_BYTES } from '../../limits.js'
import { FrameBuilder, UNCONDITIONAL, type OperationConditions } from '../../wal/frame-builder.js'
import { MAX_SUM_BYTES } from '../../wal/outcomes.js'
import { encodeDelta } from '../../encoding/values/numbers.js'

export class OperationWriter {
  readonly #main: KeySpace
  readonly #openState: OpenState
  /** Frames that are free to build in. Each write that is being put together takes one. */
  readonly #frames: FrameBuilder[] = []

  /** The database's clock: what `ttlMs` counts from. */
  readonly clock: Clock
  /** The earliest time at which an entry expires that was written here, for its sweeper. */
  soonestExpiry = NEVER

  constructor({
    main,
    openState,
    clock,
  }: {
    readonly main: KeySpace
    readonly openState: OpenState
    readonly clock: Clock
  }) {
    this.#main = main
    this.clock = clock
    this.#openState = openState
  }

  /** Passes the frame that `add` writes to `commit`, unless `add` writes nothing. */
  build(add: (frame: FrameBuilder) => void, commit: (frame: Buffer) => void): void {
    this.#openState.assertWritable()
    const frame = this.#frames.pop() ?? new FrameBuilder()
    try {
      add(frame)
      if (frame.opCount > 0) commit(frame.frame())
    } finally {
      frame.reset()
      this.#frames.push(frame)
    }
  }

  /** Adds a put to a frame. If it throws `InvalidError`, it has added nothing. */
  put(frame: FrameBuilder, key: Key, value: unknown, conditions = UNCONDITIONAL, space = this.#main): void {
    this.#openState.assertWritable()
    const taken = takenKey(key)
    const bytes = space.values.encode(value)
    if (bytes.length > MAX_VALUE_BYTES) {
      throw new InvalidError(
        `A value may be at most ${MAX_VALUE_BYTES} bytes long when encoded; this one has ${bytes.length}.`,
      )
    }
    const length = space.write(taken)
    if (space.number > 0) frame.touchStores(space.generation)
    frame.put(space.bytes, length, bytes, conditions)
    this.#note(conditions)
  }

  /** Adds a delete to a frame. If it throws `InvalidError`, it has added nothing. */
  del(frame: FrameBuilder, key: Key, conditions = UNCONDITIONAL, space = this.#main): void {
    this.#openState.assertWritable()
    const length = space.encode(key)
    if (space.number > 0) frame.touchStores(space.generation)
    frame.del(space.bytes, length, conditions)
  }

  /** Adds a sum to a frame. If it throws `InvalidError`, it has added nothing. */
  add(frame: FrameBuilder, key: Key, delta: unknown, conditions = UNCONDITIONAL, space = this.#main): void {
    this.#openState.assertWritable()
    const taken = takenKey(key)
    const bytes = encodeDelta(space.values, delta, MAX_SUM_BYTES)
    const length = space.write(taken)
    if (space.number > 0) frame.touchStores(space.generation)
    frame.add(space.bytes, length, bytes, space.values.name === 'json', conditions)
    this.#note(conditions)
  }

  #note({ expiresAt }: OperationConditions): void {
    if (expiresAt !== undefined && expiresAt < this.soonestExpiry) this.soonestExpiry = expiresAt
  }

  /** Adds conditions, and no change, to a frame. */
  #check(frame: FrameBuilder, key: Key, conditions: OperationConditions, space: KeySpace): void {
    if (conditions.flags === 0) throw new InvalidError('A check needs a condition: ifVersion, ifAbsent or ifPresent.')
    const length = space.encode(key)
    if (space.number > 0) frame.touchStores(space.generation)
    frame.check(space.bytes, length, conditions)
  }

  /** Adds a whole batch. If it throws, the frame must not be used. */
  batch(frame: FrameBuilder, operations: Iterable<BatchOperation>, space = this.#main): void {
    this.#openState.assertWritable()
    forEachTaken(operations, this.clock, ({ type, key, value, delta, conditions }) => {
      if (type === 'put') this.put(frame, key, value, conditions, space)
      else if (type === 'del') this.del(frame, key, conditions, space)
      else if (type === 'add') this.add(frame, key, delta, conditions, space)
      else this.#check(frame, key, conditions, space)
    })
  }
}
