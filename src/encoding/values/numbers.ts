// Adding to an encoded number, for counters. The sum follows from the two encoded numbers alone, so that a replay of
// the log comes to the same.
import { InvalidError } from '../../errors.js'
import { quoted } from '../../describe.js'
import { valueCodec, type ValueCodec } from './codec.js'

/** Of their own: no user's code is running in them. */
const MSGPACK = valueCodec('msgpack')
const JSON_TEXT = valueCodec('json')
const codecOf = (isJson: boolean): ValueCodec => (isJson ? JSON_TEXT : MSGPACK)

/** Why there is no sum. */
export type NoSum = 'no number' | 'mixed' | 'too large'

/**
 * The encoded sum of the value in [at, end) of `bytes` and `delta`, all of them in JSON or in msgpack; `at` = -1
 * stands for 0. It takes at most `mostBytes`.
 */
export function sumOf(
  isJson: boolean,
  bytes: Buffer,
  at: number,
  end: number,
  delta: Buffer,
  mostBytes: number,
): Uint8Array | NoSum {
  const codec = codecOf(isJson)
  const added = numberIn(codec, delta, 0, delta.length)
  const before = at < 0 ? (typeof added === 'bigint' ? 0n : 0) : numberIn(codec, bytes, at, end)
  if (before === undefined || added === undefined) return 'no number'
  if (typeof before !== typeof added) return 'mixed'
  const sum = typeof before === 'bigint' ? before + (added as bigint) : before + (added as number)
  if (typeof sum === 'number' && !Number.isFinite(sum)) return 'too large'
  const encoded = codec.encode(sum)
  return encoded.length > mostBytes ? 'too large' : encoded
}

function numberIn(codec: ValueCodec, bytes: Buffer, at: number, end: number): number | bigint | undefined {
  try {
    const value = codec.decode(bytes, at, end)
    return typeof value === 'number' || typeof value === 'bigint' ? value : undefined
  } catch {
    return undefined
  }
}

/**
 * What is to be added, encoded. Throws `InvalidError` if it is no finite number and no bigint, or has too many digits.
 */
export function encodeDelta({ name }: ValueCodec, delta: unknown, mostBytes: number): Uint8Array {
  if (typeof delta !== 'bigint' && !(typeof delta === 'number' && Number.isFinite(delta)))
    throw new InvalidError(`The delta must be a finite number or a bigint, not ${quoted(delta)}.`)
  if (name === 'utf8' || name === 'binary')
    throw new InvalidError(
      `Values are ${name === 'utf8' ? 'texts' : 'bytes'} here (valueEncoding "${name}"), so there ` +
        'are no numbers to add to. Counters need valueEncoding "msgpack" or "json".',
    )
  const encoded = codecOf(name === 'json').encode(delta)
  if (encoded.length > mostBytes) throw new InvalidError('What is added has too many digits.')
  return encoded
}

/** The sum that `sumOf` gave. */
export const decodeSum = (bytes: Buffer, isJson: boolean): number | bigint =>
  codecOf(isJson).decode(bytes, 0, bytes.length) as number | bigint
