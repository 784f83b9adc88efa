/** What one call has: a request for each key. Most calls have one, so the first takes no array. */
export class Grant {
  isReleased = false
  /** Among those that are to be released (record-locks.ts): the next one, and whether their states say so. */
  next: Grant | undefined
  isMarked = false
  count = 0
  #cell = 0
  #ticket = 0
  #more: { readonly cell: number; readonly ticket: number }[] | undefined

  add(cell: number, ticket: number): void {
    if (this.count++ > 0) (this.#more ??= []).push({ cell, ticket })
    else {
      this.#cell = cell
      this.#ticket = ticket
    }
  }
  cellAt(i: number): number {
    return i === 0 ? this.#cell : this.#more![i - 1]!.cell
  }
  ticketAt(i: number): number {
    return i === 0 ? this.#ticket : this.#more![i - 1]!.ticket
  }
}
