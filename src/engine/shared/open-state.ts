// Whether this thread has the database open, and may write it: what every call asks first.
import { ClosedError, ReadOnlyError } from '../../errors.js'

export class OpenState {
  readonly #readOnly: boolean
  #isClosed = false

  constructor(readOnly: boolean) {
    this.#readOnly = readOnly
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  /** From here on every call is refused. */
  close(): void {
    this.#isClosed = true
  }

  assertOpen(): void {
    if (this.#isClosed) throw new ClosedError('The database is closed.')
  }

  assertWritable(): void {
    this.assertOpen()
    if (this.#readOnly)
      throw new ReadOnlyError('The database was opened with { readOnly: true } and cannot be written.')
  }
}
