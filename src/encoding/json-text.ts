// JSON that keeps its numbers. JSON.parse silently rounds integers beyond 2^53 and turns 1e400 into
// Infinity, so that different keys become one. Here such a number is refused with its place, or kept as
// a bigint or as text.
import { randomUUID } from 'node:crypto'

/** What to do about integers that a double cannot hold. */
export const BIG_INTEGERS = ['refuse', 'bigint', 'string'] as const
export type BigIntegers = (typeof BIG_INTEGERS)[number]

/** A number that cannot be kept. */
export class NumberError extends Error {
  constructor(
    readonly literal: string,
    /** Like `user.ids[2]`; empty for the whole value. */
    readonly place: string,
    why: string,
  ) {
    super(`${literal}${place === '' ? '' : ` in "${place}"`} ${why}`)
  }
}

/** Only a text with that many digits in a row, or such an exponent, can hold a number that would be lost. */
const SUSPICIOUS = /\d{16}|[eE][+-]?\d{3}/
const LITERAL = /-?\d+(\.\d+)?([eE][+-]?\d+)?/y

/** Put before the digits of an integer, so that JSON.parse takes it for a string that can be recognised. */
const MARK = `${randomUUID()}:`

/** Like JSON.parse. Throws `SyntaxError` as JSON.parse does, and `NumberError`. */
export function parseJson(text: string, bigIntegers: BigIntegers): unknown {
  const value = JSON.parse(text) as unknown
  if (!SUSPICIOUS.test(text)) return value
  let marked = ''
  let copied = 0
  for (const { at, literal, place } of numbersOf(text)) {
    const n = Number(literal)
    if (/^-?\d+$/.test(literal)) {
      if (Number.isSafeInteger(n)) continue
      if (bigIntegers === 'refuse') throw new NumberError(literal, place(), 'is too large for a number to hold exactly')
      marked += `${text.slice(copied, at)}"${MARK}${literal}"`
      copied = at + literal.length
    } else if (!Number.isFinite(n)) throw new NumberError(literal, place(), 'is too large for a number')
    else if (n === 0 && /[1-9]/.test(literal.replace(/[eE].*/, '')))
      throw new NumberError(literal, place(), 'is too small for a number')
  }
  if (copied === 0) return value
  return JSON.parse(marked + text.slice(copied), (_, x: unknown) => {
    if (typeof x !== 'string' || !x.startsWith(MARK)) return x
    const digits = x.slice(MARK.length)
    return bigIntegers === 'bigint' ? BigInt(digits) : digits
  }) as unknown
}

interface Found {
  readonly at: number
  readonly literal: string
  readonly place: () => string
}

/** The numbers in a text that is known to be JSON. */
function* numbersOf(text: string): Generator<Found> {
  // For each object and array around the current place: the field, or the index, that is being read.
  const path: (string | number)[] = []
  const place = (): string =>
    path
      .map((step) => (typeof step === 'number' ? `[${step}]` : `.${step}`))
      .join('')
      .replace(/^\./, '')
  let name = ''
  for (let at = 0; at < text.length; at++) {
    const c = text[at]!
    if (c === '"') {
      const end = stringEnd(text, at)
      name = text.slice(at + 1, end)
      at = end
    } else if (c === ':') path[path.length - 1] = name
    else if (c === '{') path.push('')
    else if (c === '[') path.push(0)
    else if (c === '}' || c === ']') path.pop()
    else if (c === ',') {
      const step = path[path.length - 1]
      if (typeof step === 'number') path[path.length - 1] = step + 1
    } else if (c === '-' || (c >= '0' && c <= '9')) {
      LITERAL.lastIndex = at
      const literal = LITERAL.exec(text)![0]
      yield { at, literal, place }
      at += literal.length - 1
    }
  }
}

/** Index of the quote that ends the string which begins at `at`. */
function stringEnd(text: string, at: number): number {
  for (let end = text.indexOf('"', at + 1); ; end = text.indexOf('"', end + 1)) {
    let backslashes = 0
    while (text[end - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return end
  }
}
