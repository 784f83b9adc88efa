// Something that is to be done once, as soon as the code that runs now has come to its end, however often it is asked
// for until then.

export class Soon {
  readonly #act: () => void
  #isComing = false

  constructor(act: () => void) {
    this.#act = act
  }

  /** Throws, and nothing is coming, if the stack is used up: so ask before there is something that waits for it. */
  ask(): void {
    if (this.#isComing) return
    queueMicrotask(() => {
      this.#isComing = false
      this.#act()
    })
    this.#isComing = true
  }
}
