// Keys and values as text. A key is a plain string unless --json-key says that it is JSON; a value
// likewise with --json-value. Whatever JSON has no notation for is an object with one field:
//
//   {"base64":"..."} {"bigint":"..."}    a key, a part of a key, or a whole value
//   {"number":"Infinity"}                a key or a part of one
//   {"$base64":"..."} {"$bigint":"..."} {"$number":"NaN"} {"$date":"..."} {"$map":[[key,value],...]}
//   {"$set":[...]} {"$undefined":true} {"$Float64Array":[...]} {"$ArrayBuffer":"base64"} {"$DataView":"base64"}
//   {"$regexp":[source,flags,lastIndex]} {"$holes":[length,[[index,element],...]]}   anywhere in a value
//   {"$object":{...}}                    an object that would be taken for one of these
//
// Printed text can be given back as input: with --json as it stands, without --json everything that is not a plain
// string. Two things do not survive: errors are printed as text, and the exact class of an object is lost (bytes
// come back as a Buffer, other objects with the usual prototype).
import { randomUUID } from 'node:crypto'
import { InvalidError } from '../errors.js'
import type { Key, KeyPart } from './keys.js'
import { NumberError, parseJson, type BigIntegers } from './json-text.js'
import { isLength } from '../describe.js'
import { MAX_DEPTH } from './values/refusal.js'

/** For the help of commands that take values. */
export const NOTATION_HELP = `Whatever JSON has no notation for is written {"base64":"..."} and {"bigint":"..."} as a key or as a whole value,
{"number":"Infinity"} as a key, and anywhere inside a value {"$base64":"..."}, {"$bigint":"..."},
{"$number":"NaN"}, {"$date":"..."}, {"$map":[[key,value],...]}, {"$set":[...]}, {"$undefined":true},
{"$Float64Array":[...]} and so on, {"$ArrayBuffer":"base64"}, {"$DataView":"base64"}, {"$regexp":[source,flags,lastIndex]},
{"$holes":[length,[[index,element],...]]}; {"$object":{...}} is an object that would be taken for one of these.`

function parsed(text: string, what: string, bigIntegers: BigIntegers): unknown {
  try {
    return parseJson(text, bigIntegers)
  } catch (cause) {
    if (cause instanceof NumberError) {
      const advice = /^-?\d+$/.test(cause.literal) ? ` Write {"$bigint":"${cause.literal}"}, or a string.` : ''
      throw new InvalidError(`${what} cannot be kept: ${cause.message}.${advice}`, { cause })
    }
    throw new InvalidError(
      `${what} is not valid JSON: ${(cause as Error).message}. Quote strings twice, as in '"text"', or leave out --json-key / --json-value.`,
      { cause },
    )
  }
}

/** The name and content of an object with one field. */
function onlyField(x: unknown): [name: string, content: unknown] | undefined {
  if (typeof x !== 'object' || x === null || Array.isArray(x)) return undefined
  const names = Object.keys(x)
  return names.length === 1 ? [names[0]!, (x as Record<string, unknown>)[names[0]!]] : undefined
}

const isBigint = (content: unknown): content is string => typeof content === 'string' && /^-?\d+$/.test(content)
const isBase64 = (content: unknown): content is string =>
  typeof content === 'string' && content.length % 4 === 0 && /^[A-Za-z0-9+/]*={0,2}$/.test(content)

/** A whole value, a key or a part of a key: decoded if it stands for something that JSON has no notation for. */
function special(x: unknown): unknown {
  const [name, content] = onlyField(x) ?? []
  if (name === 'base64' && isBase64(content)) return Buffer.from(content, 'base64')
  if (name === 'bigint' && isBigint(content)) return BigInt(content)
  return x
}

const INFINITE = ['Infinity', '-Infinity']

/** The same for a key or a part of a key, which may be infinite, too. */
function specialKey(x: unknown): unknown {
  const [name, content] = onlyField(x) ?? []
  return name === 'number' && INFINITE.includes(content as string) ? Number(content) : special(x)
}

const TYPED_ARRAYS: Record<string, { from(content: never[]): unknown }> = {
  Int8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
}

const NUMBERS = ['NaN', 'Infinity', '-Infinity', '-0']

/** The value that the notation above stands for. Throws `InvalidError` for one that no database takes. */
function valueOf(x: unknown, depth = 0): unknown {
  if (typeof x !== 'object' || x === null) return x
  if (depth > MAX_DEPTH) {
    throw new InvalidError(
      `The value is nested more than ${MAX_DEPTH} levels deep. Store parts of it under keys of their own.`,
    )
  }
  const inner = (content: unknown): unknown => valueOf(content, depth + 1)
  if (Array.isArray(x)) return x.map(inner)
  const [name, content] = onlyField(x) ?? []
  if (name === '$base64' && isBase64(content)) return Buffer.from(content, 'base64')
  if (name === '$bigint' && isBigint(content)) return BigInt(content)
  if (name === '$number' && NUMBERS.includes(content as string)) return Number(content)
  if (name === '$date' && (content === null || (typeof content === 'string' && !Number.isNaN(Date.parse(content)))))
    return new Date(content ?? Number.NaN)
  if (name === '$set' && Array.isArray(content)) return new Set(content.map(inner))
  if (name === '$map' && Array.isArray(content) && content.every((pair) => Array.isArray(pair) && pair.length === 2)) {
    return new Map((content as [unknown, unknown][]).map(([key, value]) => [inner(key), inner(value)]))
  }
  if (name === '$undefined' && content === true) return undefined
  if (name === '$ArrayBuffer' && isBase64(content)) return memoryOf(content)
  if (name === '$DataView' && isBase64(content)) return new DataView(memoryOf(content))
  const made = !Array.isArray(content)
    ? undefined
    : name === '$regexp'
      ? regExpOf(content)
      : name === '$holes'
        ? arrayOf(content, inner)
        : undefined
  if (made !== undefined) return made
  const typedArray = name?.startsWith('$') && Array.isArray(content) ? TYPED_ARRAYS[name.slice(1)] : undefined
  if (typedArray) return typedArray.from((content as unknown[]).map(inner) as never[])
  const object = name === '$object' && onlyField(content) !== undefined ? (content as object) : x
  return mapped(object, inner)
}

const memoryOf = (content: string): ArrayBuffer => new Uint8Array(Buffer.from(content, 'base64')).buffer

/** Undefined if these parts do not make a regular expression. */
function regExpOf([source, flags, lastIndex = 0, ...rest]: readonly unknown[]): RegExp | undefined {
  if (typeof source !== 'string' || typeof flags !== 'string' || !isLength(lastIndex) || rest.length > 0)
    return undefined
  try {
    return Object.assign(new RegExp(source, flags), { lastIndex })
  } catch {
    return undefined
  }
}

/** An array of `length` elements, some of which are missing; undefined if these parts do not make one. */
function arrayOf(
  [length, elements, ...rest]: readonly unknown[],
  inner: (content: unknown) => unknown,
): unknown[] | undefined {
  if (!isLength(length) || length >= 2 ** 32 || !Array.isArray(elements) || rest.length > 0) return undefined
  const array = new Array<unknown>(length)
  for (const pair of elements as unknown[]) {
    if (!Array.isArray(pair) || pair.length !== 2 || !isLength(pair[0]) || pair[0] >= length) return undefined
    array[pair[0]] = inner(pair[1])
  }
  return array
}

function mapped(object: object, change: (value: unknown) => unknown): Record<string, unknown> {
  // fromEntries makes a field of __proto__, too.
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]))
}

/** The key that an argument stands for. Throws `InvalidError`; the engine checks the rest. */
export function parseKey(text: string, asJson: boolean): Key {
  if (!asJson) return text
  return keyOf(parsed(text, 'The key', 'bigint'))
}

/** The key that parsed JSON stands for. The encoder of keys checks the rest. */
export const keyOf = (json: unknown): Key => (Array.isArray(json) ? json.map(specialKey) : specialKey(json)) as Key

/** The value that parsed JSON stands for. Throws `InvalidError`. */
export function wholeValueOf(json: unknown): unknown {
  const whole = special(json)
  return Object.is(whole, json) ? valueOf(json) : whole
}

/** The value that an argument stands for. Throws `InvalidError`. */
export function parseValue(text: string, asJson: boolean): unknown {
  if (!asJson) return text
  return wholeValueOf(parsed(text, 'The value', 'refuse'))
}

/** JSON text without control characters, which could steer a terminal. */
export function jsonText(x: unknown): string {
  const text = JSON.stringify(x) ?? 'null'
  return printable(/\d{16}/.test(text) ? withExponents(x) : text)
}

const MARK = randomUUID()
const MARKED = new RegExp(`"${MARK}([^"]*)"`, 'g')

/** Writes numbers beyond 2^53 as 9.007199254740994e+15: digits alone would be read back as a bigint, or refused. */
const withExponents = (x: unknown): string =>
  JSON.stringify(x, (_, v: unknown) =>
    typeof v === 'number' && Number.isInteger(v) && !Number.isSafeInteger(v) ? MARK + v.toExponential() : v,
  ).replace(MARKED, '$1')

/** A value as text, in the notation above. */
export const toJson = (value: unknown): string => jsonText(plain(value))

/** A key as something that JSON.stringify takes. */
export const plainKey = (key: unknown): unknown => (Array.isArray(key) ? key.map(keyPart) : keyPart(key))

const keyPart = (part: unknown): unknown =>
  part === Infinity || part === -Infinity ? { number: String(part) } : whole(part)

const base64 = (bytes: ArrayBufferView): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('base64')

function whole(value: unknown): unknown {
  if (typeof value === 'bigint') return { bigint: String(value) }
  return value instanceof Uint8Array ? { base64: base64(value) } : value
}

/** A value as something that JSON.stringify takes. */
export function plain(value: unknown): unknown {
  const simple = whole(value)
  if (!Object.is(simple, value)) return simple
  // As a whole value it would be taken for bytes or for a bigint.
  return !Object.is(special(value), value) ? { $object: inside(value) } : inside(value)
}

function inside(value: unknown): unknown {
  if (typeof value === 'bigint') return { $bigint: String(value) }
  if (value === undefined) return { $undefined: true }
  if (typeof value === 'number')
    return Number.isFinite(value) && !Object.is(value, -0)
      ? value
      : { $number: Object.is(value, -0) ? '-0' : String(value) }
  if (typeof value !== 'object' || value === null) return value
  if (value instanceof Uint8Array) return { $base64: base64(value) }
  if (Array.isArray(value))
    return hasHoles(value)
      ? { $holes: [value.length, Object.entries(value).map(([i, element]) => [Number(i), inside(element)])] }
      : value.map(inside)
  if (value instanceof Date) return { $date: Number.isNaN(value.getTime()) ? null : value.toISOString() }
  if (value instanceof Map) return { $map: [...value].map((pair) => pair.map(inside)) }
  if (value instanceof Set) return { $set: [...value].map(inside) }
  if (value instanceof ArrayBuffer) return { $ArrayBuffer: base64(new Uint8Array(value)) }
  if (value instanceof DataView) return { $DataView: base64(value) }
  if (ArrayBuffer.isView(value))
    return { [`$${value.constructor.name}`]: Array.from(value as unknown as ArrayLike<unknown>, inside) }
  if (value instanceof RegExp)
    return { $regexp: [value.source, value.flags, ...(value.lastIndex === 0 ? [] : [value.lastIndex])] }
  if (value instanceof Error) return String(value)
  const object = mapped(value, inside)
  return onlyField(value)?.[0].startsWith('$') ? { $object: object } : object
}

const hasHoles = (array: readonly unknown[]): boolean => Object.keys(array).length < array.length

/** Characters that steer a terminal, or change the direction of the text after them. */
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`

/** A text of unknown origin, with control characters as \uXXXX, so that it cannot steer the terminal. */
export const printable = (text: string): string => text.replace(CONTROL, escaped)

/** Strings that look like JSON or like the bytes of a key that cannot be decoded, or whose ends cannot be seen. */
const AMBIGUOUS = /^$|^["[{\s]|\s$|^-?\d+(\.\d+)?([eE][+-]?\d+)?$|^(true|false|null)$|^0x/

/** Advice for an absent key that was given as a string and looks like JSON. */
export const otherKey = (text: string, asJson: boolean | undefined): string =>
  !asJson && /^["[{]|^-?\d+(\.\d+)?$|^(true|false|null)$/.test(text)
    ? ' This is a string; for a key that is not a string give --json-key.'
    : ''

/** A text of several lines for a terminal. */
export const shownText = (text: string): string =>
  text.replace(CONTROL, (c) => (c === '\n' || c === '\t' ? c : escaped(c)))

/** A key for people: a string as it is, or in quotes if it could be taken for something else; other keys as JSON. */
export function showKey(key: Key | KeyPart): string {
  return typeof key === 'string' && !AMBIGUOUS.test(key) && printable(key) === key && key.isWellFormed()
    ? key
    : jsonText(plainKey(key))
}

/** At most `length` characters of a value's JSON. */
export function preview(value: unknown, length: number): string {
  const text = toJson(value)
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}
