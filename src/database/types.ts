// The types of values.
import type { ValueEncoding } from '../encoding/values/codec.js'

// The user decides what a value may be: `unknown` would force a cast on each read.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Anything = any

/** The type of values that goes with a value encoding. */
export type ValueOf<E extends ValueEncoding | undefined> = E extends 'utf8'
  ? string
  : E extends 'binary'
    ? Uint8Array
    : Anything

/** What `get` hands out: a Buffer where a Uint8Array was put. */
export type Stored<V> = V extends Uint8Array ? Buffer : V
