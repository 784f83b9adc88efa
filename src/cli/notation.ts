// Keys and values as text. A key is a plain string unless --json-key says that it is JSON; values
// likewise with --json-value. What JSON has no notation for is written as an object with one field:
// {"base64":"..."} for bytes and {"bigint":"..."}. What is printed with --json can be given back.
import { InvalidError } from '../errors.js'
import type { Key, KeyPart } from '../engine/keys.js'

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text) as unknown
  } catch (cause) {
    throw new InvalidError(
      `${what} is not valid JSON: ${(cause as Error).message}. Quote strings twice, as in '"text"', or leave out --json-key / --json-value.`,
      { cause },
    )
  }
}

function special(x: unknown): unknown {
  if (typeof x !== 'object' || x === null || Array.isArray(x)) return x
  const fields = Object.entries(x)
  if (fields.length !== 1 || typeof fields[0]![1] !== 'string') return x
  const [name, text] = fields[0]! as [string, string]
  if (name === 'base64') return Buffer.from(text, 'base64')
  if (name === 'bigint' && /^-?\d+$/.test(text)) return BigInt(text)
  return x
}

/** The key that an argument stands for. Throws `InvalidError`; the engine checks the rest. */
export function parseKey(text: string, asJson: boolean): Key {
  if (!asJson) return text
  const trimmed = text.trim()
  if (/^-?\d+$/.test(trimmed) && !Number.isSafeInteger(Number(trimmed))) return BigInt(trimmed)
  const key = parsed(trimmed, 'The key')
  return (Array.isArray(key) ? key.map(special) : special(key)) as Key
}

export function parseValue(text: string, asJson: boolean): unknown {
  return asJson ? special(parsed(text, 'The value')) : text
}

/** JSON of anything that can be a key or a value. */
export function toJson(value: unknown): string {
  return printable(JSON.stringify(plain(value)) ?? 'null')
}

/** The same as something that JSON.stringify takes. */
export function plain(value: unknown): unknown {
  if (typeof value === 'bigint') return { bigint: String(value) }
  if (value instanceof Uint8Array) return { base64: Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64') }
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value)
  if (typeof value !== 'object' || value === null) return value
  if (Array.isArray(value)) return value.map(plain)
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? null : value.toISOString()
  if (value instanceof Map) return Object.fromEntries([...value].map(([k, v]) => [typeof k === 'string' ? k : toJson(k), plain(v)]))
  if (value instanceof Set) return [...value].map(plain)
  if (value instanceof RegExp || value instanceof Error) return String(value)
  return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]))
}

/** What steers a terminal, or turns the order of what follows round. */
// eslint-disable-next-line no-control-regex
const CONTROL = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g

const escaped = (c: string): string => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`

/** A text of others, with control characters as \uXXXX, so that it cannot steer the terminal. */
export const printable = (text: string): string => text.replace(CONTROL, escaped)

/** A key for people: strings as they are (quoted if they hold control characters), the rest as JSON. */
export function showKey(key: Key | KeyPart): string {
  return typeof key === 'string' && printable(key) === key ? key : toJson(key)
}

/** At most `length` characters of a value's JSON. */
export function preview(value: unknown, length: number): string {
  const text = toJson(value)
  return text.length <= length ? text : `${text.slice(0, length - 1)}…`
}
