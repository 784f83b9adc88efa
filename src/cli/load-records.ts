import type { Engine } from '../engine/engine.js'
import { InvalidError } from '../errors.js'
import type { Job, JobContext } from './load.js'
export async function recordsJob(_context: Omit<JobContext, 'engine'>): Promise<(engine: Engine) => Job> {
  throw new InvalidError('--input is not there yet.')
}
