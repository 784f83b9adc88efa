// The clocks of a simulated machine.

export class Clocks {
  /** Begins again when the machine does. */
  monotonicMs = 1000
  /** The system's, which is set back and forth. */
  systemMs = 1_700_000_000_000
  /** The latest that a clock can have reached which follows the system's and never goes back. */
  latestMs = 1_700_000_000_000

  /** Time passes, in whole milliseconds. */
  pass(ms: number): void {
    const whole = Math.ceil(ms)
    this.monotonicMs += whole
    this.systemMs += whole
    this.latestMs += whole
  }
  /** The system's clock is set. */
  set(byMs: number): void {
    this.systemMs = Math.max(1_000_000, this.systemMs + byMs)
    this.latestMs = Math.max(this.latestMs, this.systemMs)
  }
  /** The machine has started again. */
  restart(): void {
    this.monotonicMs = 1000
  }
}
