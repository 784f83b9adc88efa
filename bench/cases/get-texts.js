// The same with values that are strings, encoded with msgpack on both sides.
import { measureGets } from './gets.js'

export const title = 'random get among 1 M keys, value as a string (msgpack)'
export const unit = 'gets/s'
export const better = 'more'
export const stores = ['mmapdb', 'lmdb']
export const prepared = 'text'

export const measure = (parameters) => measureGets(parameters, { text: true })
