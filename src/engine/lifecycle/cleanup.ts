// Takes back the steps of an operation, in reverse order, if a later step fails.

export class Cleanup {
  readonly #steps: (() => void)[] = []

  /** Makes `undo` run if a later step fails. */
  defer(undo: () => void): void {
    this.#steps.push(undo)
  }

  /** Takes back all that was done. */
  run(): void {
    for (const step of this.#steps.splice(0).reverse()) step()
  }
}
