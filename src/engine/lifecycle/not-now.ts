// How an opener that must not wait learns that opening now would take time.
import { LockedError } from '../../errors.js'

/** What an opener may wait for on its thread. */
export interface Patience {
  /** Wait up to `timeoutMs` while others open, recover or close the database. */
  readonly forOthers: boolean
  /** Recover it, if that is needed. */
  readonly forRecovery: boolean
}

export const PATIENT: Patience = { forOthers: true, forRecovery: true }

/** Opening would have to wait for others or recover the database. Nothing has been changed. */
export class NotNowError extends LockedError {
  constructor(
    readonly why: 'others' | 'recovery',
    message: string,
  ) {
    super(message)
  }
}
