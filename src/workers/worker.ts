// What runs in the threads of a database's pool. Each thread has an engine of its own on the same
// files; it commits independently of the others.
import { move, Piscina, transferableSymbol, valueSymbol } from 'piscina'
import { toErrorMessage, type ErrorMessage } from '../errors.js'
import type { CheckpointReport } from '../engine/checkpoint.js'
import type { Encoded } from '../engine/encoded.js'
import { Engine } from '../engine/engine.js'
import type { EngineOptions } from '../engine/options.js'
import type { Range } from '../engine/range.js'
import type { RecoveryReport } from '../engine/recovery.js'
import { verify, type VerifyReport } from '../engine/verify.js'
import { expected, type Expectation } from './expectation.js'
import { passTicket } from './tickets.js'
import { posixStorage } from '../storage/posix.js'

/** A result or an error, in a form that survives the way between threads. */
export type Outcome<T> = { readonly ok: T } | { readonly error: ErrorMessage }

/** What a pool is started with. `order` holds the ticket of the frame that may be appended next. */
export interface PoolData {
  readonly options: EngineOptions
  readonly order: SharedArrayBuffer
  readonly expectation: Expectation
}

/** How long a worker waits for its turn before it looks again. */
const LOOK_AGAIN_MS = 1000

const { options, order: orderBuffer, expectation } = Piscina.workerData as PoolData
const order = new Int32Array(orderBuffer)
let opened: Engine | undefined
function engine(): Engine {
  return (opened ??= Engine.open(options, posixStorage, expected(expectation)))
}

function outcome<T>(act: () => T): Outcome<T> {
  try {
    return { ok: act() }
  } catch (error) {
    return { error: toErrorMessage(error) }
  }
}

/** Opens the database, recovering it if this is the first opener. */
export const start = (): Outcome<RecoveryReport | undefined> => outcome(() => engine().recovery)

/**
 * Commits one frame; says whether a checkpoint is due. Frames of one Database are appended in the
 * order of their tickets, whichever worker has them, so that what a program wrote last wins.
 */
export const commit = ({ frame, length, ticket }: { frame: ArrayBuffer; length: number; ticket: number }): Outcome<boolean> =>
  outcome(() => {
    const bytes = Buffer.from(frame, 0, length)
    engine().prepareCommit(bytes)
    for (let now; (now = Atomics.load(order, 0)) !== ticket; ) Atomics.wait(order, 0, now, LOOK_AGAIN_MS)
    let end
    try {
      end = engine().beginCommit(bytes)
    } finally {
      passTicket(order, ticket)
    }
    engine().finishCommit(end)
    return engine().checkpointWanted
  })

export const checkpoint = ({ wait }: { wait: boolean }): Outcome<CheckpointReport | undefined> =>
  outcome(() => engine().checkpoint(wait))

export const check = (): Outcome<VerifyReport> => outcome(() => verify(engine()))

/** Hands the values over instead of copying them. */
class Found {
  constructor(readonly outcome: Outcome<Encoded>) {}
  get [valueSymbol](): Outcome<Encoded> {
    return this.outcome
  }
  get [transferableSymbol](): ArrayBuffer[] {
    return 'ok' in this.outcome ? [this.outcome.ok.bytes.buffer] : []
  }
}

export const lookUp = (keys: Encoded): unknown => move(new Found(outcome(() => engine().getEncoded(keys))))

export const count = (range: Range): Outcome<number> => outcome(() => engine().range(range, 'keys').count())
