// The same as threads.js from the first put on: 1,000 of each thread, which has just begun and has compiled nothing.
import { runThreads } from '../threads.js'
import { selected, stores } from './threads.js'

export { selected, stores }
export const title = () => 'the first 1,000 puts of each of 8 new threads'
export const group = 'writes'
export const unit = 'us'
export const per = 'put'
export const database = 'none'
export const isCold = true
export const variants = { quick: [{ limit: 1000 }], full: [{ limit: 1000 }] }

export const measure = (parameters) => runThreads({ threads: 8, ...parameters, work: 'put' })
