// Whether this thread has the database open and may write it. Every call asks this first.
import { databaseClosed, openedReadOnly } from '../../errors.js'

export class OpenState {
  readonly #readOnly: boolean
  #isClosed = false

  constructor(readOnly: boolean) {
    this.#readOnly = readOnly
  }

  get isClosed(): boolean {
    return this.#isClosed
  }

  get isReadOnly(): boolean {
    return this.#readOnly
  }

  /** From here on every call is refused. */
  close(): void {
    this.#isClosed = true
  }

  assertOpen(): void {
    if (this.#isClosed) throw databaseClosed()
  }

  assertWritable(): void {
    this.assertOpen()
    if (this.#readOnly) throw openedReadOnly()
  }
}
