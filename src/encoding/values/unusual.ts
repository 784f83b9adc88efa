// What the msgpack writer and the JSON writer share for values that are no primitives, arrays or plain objects.
import types from 'node:util/types'
import { describe, hasNamedFields, isPlainWithin } from './kinds.js'
import { TYPED_ARRAYS } from './msgpack-format.js'
import { refuse, shortened, type Step } from './refusal.js'
import { MAX_VALUE_BYTES } from '../../limits.js'

export const NOT_DATA =
  'Store plain data, such as { ...it } of an object, or give its class a toJSON that returns plain data.'

/**
 * True if this object says what to store in its place. Classes of the platform that
 * have a `toJSON` do not count: a user who stores a URL has not asked for a string.
 */
export function hasJson(value: object): boolean {
  return typeof (value as { toJSON?: unknown }).toJSON === 'function' && !isOfPlatform(value)
}

const PLATFORM = ['URL', 'PerformanceEntry', 'Performance', 'DOMMatrixReadOnly'] as const

const isOfPlatform = (value: object): boolean =>
  types.isDate(value) ||
  types.isArrayBufferView(value) ||
  PLATFORM.some((name) => {
    const Class = (globalThis as Record<string, unknown>)[name]
    return typeof Class === 'function' && value instanceof Class
  }) ||
  /^(Temporal|Intl)\./.test(String((value as { [Symbol.toStringTag]?: unknown })[Symbol.toStringTag]))

/** What `toJSON` returns when called as JSON.stringify calls it. The result may not have a `toJSON` of its own. */
export function jsonOf(value: object, step: Step): unknown {
  const result = (value as { toJSON: (name: string) => unknown }).toJSON(typeof step === 'object' ? '' : String(step))
  if (typeof result !== 'object' || result === null || !hasJson(result)) return result
  return refuse('has a toJSON that returns an object with a toJSON', 'Let it return plain data.')
}

const lengthOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'byteLength')!.get!
const offsetOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'byteOffset')!.get!
const bufferOf = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(Uint8Array.prototype), 'buffer')!.get!

/** The bytes of a typed array, DataView or ArrayBuffer that comes back as what it is; `name` is that of its class. */
export function binaryOf(value: ArrayBufferView | ArrayBufferLike, name: string | undefined): Uint8Array {
  if (types.isSharedArrayBuffer(value))
    return refuse('is a SharedArrayBuffer', 'Store new Uint8Array(it), which is copied.')
  if (types.isArrayBuffer(value)) {
    if (name !== 'ArrayBuffer') refuse(`is ${describe(value)}`, 'Store an ArrayBuffer or a Uint8Array.')
    noFields(value)
    if ((value as { resizable?: boolean }).resizable === true)
      refuse('is an ArrayBuffer that can be resized', 'Store it.slice().')
    try {
      return new Uint8Array(value)
    } catch {
      // This can only happen if it was handed to another thread.
      return refuse('is an ArrayBuffer that is detached', 'Store it before it is transferred.')
    }
  }
  if (types.isDataView(value)) {
    if (name !== 'DataView') refuse(`is ${describe(value)}`, 'Store a DataView or a Uint8Array.')
    noFields(value)
    try {
      return new Uint8Array(value.buffer, value.byteOffset, value.byteLength)
    } catch {
      return refuse('is a DataView whose buffer is detached or too small', 'Store it before that.')
    }
  }
  const isKnown =
    name === 'Buffer' || name === 'Float16Array' || (name !== undefined && TYPED_ARRAYS.includes(name as never))
  if (!isKnown) refuse(`is ${describe(value)}`, 'Store Uint8Array.from(it), or a Buffer.')
  if (hasNamedFields(value as NodeJS.TypedArray))
    refuse('has fields besides its elements', 'Store an object that has both.')
  return bytesOf(value as NodeJS.TypedArray)
}

/** The bytes of a typed array, whatever a subclass reports. Refuses an array that has lost its buffer. */
export function bytesOf(array: NodeJS.TypedArray): Uint8Array {
  const length = lengthOf.call(array) as number
  try {
    // For an empty one there is no other way to tell.
    if (length === 0) Uint8Array.prototype.keys.call(array as never)
  } catch {
    return refuse('is a view whose buffer is detached or too small', 'Store it before that.')
  }
  return new Uint8Array(bufferOf.call(array) as ArrayBuffer, offsetOf.call(array) as number, length)
}

export const tooLong = (length: number): never =>
  refuse(
    `is ${length} bytes long with what comes before it; a value may have ${MAX_VALUE_BYTES}`,
    'Store parts of it under keys of their own.',
  )

/** For an object with symbols: they must be irrelevant, and it must still be a plain object. */
export function refuseSymbols(object: object): void {
  refuseNames(object, [])
  if (!isPlainWithin(object)) refuse(`is ${describe(object)}`, NOT_DATA)
}

/** Refuses fields that would be lost: those with these names, and those named by symbols. */
export function refuseNames(object: object, [name]: readonly string[]): void {
  if (name !== undefined) refuse(`has a field of its own (${shortened(name)})`, 'Store an object that has both.')
  for (const symbol of Object.getOwnPropertySymbols(object)) {
    if (Object.prototype.propertyIsEnumerable.call(object, symbol))
      refuse(`has a field whose name is ${String(symbol).slice(0, 60)}`, 'Names of fields are strings.')
  }
}

/** For what has contents and no fields. */
export const noFields = (value: object): void => refuseNames(value, Object.keys(value))
