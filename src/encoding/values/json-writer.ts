// Values to JSON text. Every value that it takes, JSON.parse gives back equal, in kind and in content. What JSON
// cannot hold (and JSON.stringify silently leaves out or changes) is refused, and the error names its place. Each
// field is read once, and all state lies in the call, as in msgpack-writer.ts.
import types from 'node:util/types'
import { builtInName, describe, hasNamedFields, isForeignObjectPrototype, isPlainWithin } from './kinds.js'
import { at, MAX_DEPTH, refuse, tooDeep, type Step } from './refusal.js'
import { hasJson, jsonOf, NOT_DATA, refuseSymbols } from './unusual.js'

const KEEPS = 'valueEncoding "msgpack" keeps it.'

/** What to store instead of an object that is not a plain one. */
function adviceOn(value: object): string {
  if (types.isDate(value)) return `JSON cannot hold it: store it.toISOString(); ${KEEPS}`
  const name = Buffer.isBuffer(value) ? 'Uint8Array' : builtInName(Object.getPrototypeOf(value) as object)
  switch (name) {
    case 'Map':
    case 'Set':
      return `JSON cannot hold it: store Array.from(it); ${KEEPS}`
    case 'Uint8Array':
      return `JSON cannot hold it: store Buffer.from(it).toString("base64"); ${KEEPS}`
    default:
      return NOT_DATA
  }
}

const NAMED = 'Store an object that has both.'

/** The JSON text of a value. Throws a `Refusal`, or what the user's code threw. */
export const jsonText = (value: unknown): string => write(value, 0, '')

function write(value: unknown, depth: number, step: Step): string {
  switch (typeof value) {
    case 'string':
      return quoted(value)
    case 'number':
      if (!Number.isFinite(value)) refuse(`is ${value}`, `JSON cannot hold it: store null, or a string; ${KEEPS}`)
      return value === 0 && 1 / value < 0 ? '-0' : String(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'undefined':
      return refuse('is undefined', `JSON cannot hold it: leave it out, or store null; ${KEEPS}`)
    case 'bigint':
      return refuse('is a bigint', `JSON cannot hold it: store a string; ${KEEPS}`)
    case 'object':
      if (value === null) return 'null'
      return Array.isArray(value) ? array(value, depth, step) : object(value as Fields, depth, step)
    default:
      return refuse(`is ${describe(value)}`, NOT_DATA)
  }
}

const SHORT = 64

function quoted(text: string): string {
  if (text.length > SHORT) return JSON.stringify(text)
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (c < 0x20 || c === 0x22 || c === 0x5c || c > 0x7e) return JSON.stringify(text)
  }
  return `"${text}"`
}

function array(value: readonly unknown[], depth: number, step: Step): string {
  const prototype = Object.getPrototypeOf(value) as object | null
  if (prototype !== Array.prototype && (prototype === null || builtInName(prototype) !== 'Array')) {
    return hasJson(value)
      ? write(jsonOf(value, step), depth, step)
      : refuse(`is ${describe(value)}`, 'Store Array.from(it).')
  }
  if (depth >= MAX_DEPTH) tooDeep(value)
  if (hasNamedFields(value)) {
    return hasJson(value)
      ? write(jsonOf(value, step), depth, step)
      : refuse('is an array with fields besides its elements', NAMED)
  }
  let text = '['
  let i = 0
  try {
    for (; i < value.length; i++) {
      const element = value[i]
      if (element === undefined && !(i in value))
        refuse('is a hole in an array', `JSON cannot hold it: store null; ${KEEPS}`)
      text += (i === 0 ? '' : ',') + write(element, depth + 1, i)
    }
  } catch (error) {
    throw at(error, value, i)
  }
  return `${text}]`
}

type Fields = Record<string, unknown>

function object(value: Fields, depth: number, step: Step): string {
  const prototype = Object.getPrototypeOf(value) as object | null
  if (prototype !== Object.prototype && (prototype === null || !isForeignObjectPrototype(prototype))) {
    if (hasJson(value)) return write(jsonOf(value, step), depth, step)
    if (prototype === null) refuse('is an object without a prototype', `JSON cannot hold it: store { ...it }; ${KEEPS}`)
    refuse(`is ${describe(value)}`, adviceOn(value))
  }
  if (typeof value['toJSON'] === 'function') return write(jsonOf(value, step), depth, step)
  if (depth >= MAX_DEPTH) tooDeep(value)
  const names = Object.keys(value)
  if (names.length === 0 && !isPlainWithin(value)) refuse(`is ${describe(value)}`, NOT_DATA)
  if (Object.getOwnPropertySymbols(value).length > 0) refuseSymbols(value)
  let text = '{'
  let i = 0
  try {
    for (; i < names.length; i++) {
      const name = names[i]!
      text += `${i === 0 ? '' : ','}${quoted(name)}:${write(value[name], depth + 1, name)}`
    }
  } catch (error) {
    throw at(error, value, names[i])
  }
  return `${text}}`
}
