// The options of what takes long: backup, restore, load, compact.
import type { Progress } from '../maintenance/reports.js'

/** Options of what takes long. */
export interface LongWorkOptions {
  /**
   * Called some ten times a second with how far the work is. If it throws, the work ends, and its promise rejects
   * with what was thrown.
   */
  onProgress?: ((progress: Progress) => void) | undefined
  /** Ends the work: what was done is taken back, and then the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined
}
