import { LockedError } from '../../errors.js'

/** A store has been dropped since a frame was built: those that it writes to must be looked for again (stores.ts). */
export class StoresChanged extends LockedError {
  constructor() {
    super('Stores were dropped while this write was made. Nothing was written; try again.')
  }
}
