// Adding to an encoded number, for counters. The sum follows from the two encoded numbers alone, so that a replay of
// the log comes to the same.
import { InvalidError } from '../../errors.js'
import { quoted } from '../../describe.js'
import type { ValueCodec } from './codec.js'

/** Why there is no sum. */
export type NoSum = 'no number' | 'mixed' | 'too large'

/**
 * The encoded sum of the value in [at, end) of `bytes` and `delta`; `at` = -1 stands for 0. It takes at most
 * `mostBytes`.
 */
export function sumOf(
  codec: ValueCodec,
  bytes: Buffer,
  at: number,
  end: number,
  delta: Buffer,
  mostBytes: number,
): Uint8Array | NoSum {
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
export function encodeDelta(codec: ValueCodec, delta: unknown, mostBytes: number): Uint8Array {
  if (typeof delta !== 'bigint' && !(typeof delta === 'number' && Number.isFinite(delta)))
    throw new InvalidError(`What is added must be a finite number or a bigint, not ${quoted(delta)}.`)
  if (codec.name === 'utf8' || codec.name === 'binary')
    throw new InvalidError(
      `Values of this database are ${codec.name === 'utf8' ? 'texts' : 'bytes'} (valueEncoding "${codec.name}"), so there ` +
        'are no numbers to add to. Counters need valueEncoding "msgpack" or "json".',
    )
  const encoded = codec.encode(delta)
  if (encoded.length > mostBytes) throw new InvalidError('What is added has too many digits.')
  return encoded
}
