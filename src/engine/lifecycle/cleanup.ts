// What an operation of several steps takes back, in reverse order, if one of its steps fails.

export class Cleanup {
  readonly #steps: (() => void)[] = []

  /** Has `undo` run if a later step fails. */
  defer(undo: () => void): void {
    this.#steps.push(undo)
  }

  /** Takes back all that was done. */
  run(): void {
    for (const step of this.#steps.splice(0).reverse()) step()
  }
}
