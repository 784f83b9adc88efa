// New inputs from old ones: bits, bytes, numbers that tend to break things, and parts moved about.
import type { Random } from '../lib/random.js'
import { EXTREMES } from './input.js'

const MAX_INPUT_BYTES = 4096

export function mutate(random: Random, from: Buffer, other: Buffer): Buffer {
  let bytes: Buffer = Buffer.from(from)
  for (let n = random.skewed(1, 8); n > 0; n--) bytes = once(random, bytes, other)
  return bytes.subarray(0, MAX_INPUT_BYTES)
}

function once(random: Random, bytes: Buffer, other: Buffer): Buffer<ArrayBufferLike> {
  const at = random.between(0, Math.max(0, bytes.length - 1))
  switch (random.between(0, 7)) {
    case 0:
      if (bytes.length > 0) bytes[at]! ^= 1 << random.between(0, 7)
      return bytes
    case 1:
      if (bytes.length > 0) bytes[at] = random.between(0, 255)
      return bytes
    case 2: {
      const size = random.pick([1, 2, 4])
      if (at + size <= bytes.length) bytes.writeUIntLE(random.pick(EXTREMES) % 2 ** (8 * size), at, size)
      return bytes
    }
    case 3:
      return Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + random.skewed(1, 32))])
    case 4: {
      const length = random.skewed(1, 32)
      const inserted = Buffer.from(Array.from({ length }, () => random.between(0, 255)))
      return Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(at)])
    }
    case 5: {
      const begin = random.between(0, other.length)
      return Buffer.concat([
        bytes.subarray(0, at),
        other.subarray(begin, begin + random.skewed(1, 64)),
        bytes.subarray(at),
      ])
    }
    case 6:
      return Buffer.concat([bytes.subarray(0, at), other.subarray(Math.min(at, other.length))])
    default: {
      const end = Math.min(bytes.length, at + random.skewed(1, 32))
      return Buffer.concat([bytes.subarray(0, end), bytes.subarray(at)])
    }
  }
}
