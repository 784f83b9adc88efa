// What a simulation counts, and the failure with which it ends when something is wrong.

/** What was wrong, with the seed that shows it again. */
export class Failure extends Error {}

export interface LifeReport {
  lives: number
  steps: number
  operations: number
  acknowledged: number
  cuts: number
  kills: number
  recoveries: number
  interruptedRecoveries: number
  faults: number
  /** Changes that were followed, and how often what came next was gone. */
  followed: number
  gone: number
  /** Writes that were refused, since their store was gone. */
  dropped: number
}

export const newReport = (): LifeReport => ({
  lives: 0,
  steps: 0,
  operations: 0,
  acknowledged: 0,
  cuts: 0,
  kills: 0,
  recoveries: 0,
  interruptedRecoveries: 0,
  faults: 0,
  followed: 0,
  gone: 0,
  dropped: 0,
})
