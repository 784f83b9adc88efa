// What runs in the threads of a database's pool. Each thread has an engine of its own on the same
// files; it commits independently of the others.
import { Piscina } from 'piscina'
import { toErrorMessage, type ErrorMessage } from '../errors.js'
import type { CheckpointReport } from '../engine/checkpoint.js'
import { Engine } from '../engine/engine.js'
import type { EngineOptions } from '../engine/options.js'
import type { Range } from '../engine/range.js'
import type { RecoveryReport } from '../engine/recovery.js'
import { verify, type VerifyReport } from '../engine/verify.js'
import { posixStorage } from '../storage/posix.js'

/** A result or an error, in a form that survives the way between threads. */
export type Outcome<T> = { readonly ok: T } | { readonly error: ErrorMessage }

let opened: Engine | undefined
function engine(): Engine {
  return (opened ??= Engine.open(Piscina.workerData as EngineOptions, posixStorage))
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

/** Commits one frame; says whether a checkpoint is due. */
export const commit = ({ frame, length }: { frame: ArrayBuffer; length: number }): Outcome<boolean> =>
  outcome(() => {
    engine().commit(Buffer.from(frame, 0, length))
    return engine().checkpointWanted
  })

export const checkpoint = ({ wait }: { wait: boolean }): Outcome<CheckpointReport | undefined> =>
  outcome(() => engine().checkpoint(wait))

export const check = (): Outcome<VerifyReport> => outcome(() => verify(engine()))

export interface Lookup {
  readonly keys: Uint8Array
  readonly lengths: Int32Array
}

export const lookUp = ({ keys, lengths }: Lookup): Outcome<{ values: Uint8Array; lengths: Int32Array }> =>
  outcome(() => engine().getEncoded(keys, lengths))

export const count = (range: Range): Outcome<number> => outcome(() => engine().range(range, 'keys').count())
