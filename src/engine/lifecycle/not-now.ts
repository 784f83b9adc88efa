// How an opener that must not be held up learns that opening now would take time.
import { LockedError } from '../../errors.js'

/** What an opener is ready to wait for on its thread. */
export interface Patience {
  /** Wait up to `timeoutMs` while others open, recover or close the database. */
  readonly forOthers: boolean
  /** Recover it, if that is needed. */
  readonly forRecovery: boolean
}

export const PATIENT: Patience = { forOthers: true, forRecovery: true }

/** Opening would have to wait for others, or to recover the database; nothing has been changed. */
export class NotNowError extends LockedError {
  constructor(
    readonly why: 'others' | 'recovery',
    message: string,
  ) {
    super(message)
  }
}
