// The same as get.js with values that are strings, encoded with msgpack on both sides.
import { count } from '../data.js'
import { measure as measureGets } from './get.js'

export const title = ({ entries }) => `random get among ${count(entries)} keys, value as a string (msgpack)`
export const group = 'reads'
export const unit = 'us'
export const per = 'get'
export const stores = ['mmapdb', 'lmdb']
export const database = 'loaded'
export const variants = { full: [{ text: true }] }

export const measure = (parameters) => measureGets(parameters)
