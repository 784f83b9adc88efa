// Checks from time to time whether anything has waited longer than the time limit. One timer serves a whole queue,
// and runs only while something waits.

/** Checks within the time limit: what has waited too long is given up at most one such interval later. */
const LOOKS = 8

export class WaitWatch {
  readonly timeoutMs: number
  readonly #look: (sinceMs: number) => boolean
  #timer: NodeJS.Timeout | undefined

  /**
   * `look` gives up what has waited since `sinceMs`, by `performance.now()`, or for longer, and returns whether
   * anything else waits.
   */
  constructor(timeoutMs: number, look: (sinceMs: number) => boolean) {
    this.timeoutMs = timeoutMs
    this.#look = look
  }

  /** Something waits. */
  begin(): void {
    // The work itself keeps the process alive; this timer need not.
    this.#timer ??= setInterval(
      () => {
        if (this.#look(performance.now() - this.timeoutMs)) return
        clearInterval(this.#timer)
        this.#timer = undefined
      },
      Math.max(1, this.timeoutMs / LOOKS),
    ).unref()
  }
}
