// Looks from time to time whether anything has waited longer than the time limit: one timer for a whole queue,
// that runs only while something waits.

/** So many looks in the time of the limit: what has waited too long learns it this much later at the most. */
const LOOKS = 8

export class WaitWatch {
  readonly timeoutMs: number
  readonly #look: (sinceMs: number) => boolean
  #timer: NodeJS.Timeout | undefined

  /**
   * `look` gives up what has waited since `sinceMs`, by `performance.now()`, or for longer, and says whether
   * anything else waits.
   */
  constructor(timeoutMs: number, look: (sinceMs: number) => boolean) {
    this.timeoutMs = timeoutMs
    this.#look = look
  }

  /** Something waits. */
  begin(): void {
    // What is waited for keeps the process alive; this need not.
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
