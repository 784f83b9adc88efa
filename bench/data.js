// Keys and values. Keys are 15 characters in an order that looks random; values are 100 bytes and
// never what is stored already: each carries the number of its writing.
export const KEY_BYTES = 15
export const VALUE_BYTES = 100

/** Key i: different for every i below 2^32, and far from key i + 1. */
export function keyOf(i) {
  return `user:${String(Math.imul(i, 2654435761) >>> 0).padStart(10, '0')}`
}

/** A generator of numbers below 2^32 from a seed (xorshift32). */
export function random(seed) {
  let x = seed | 0 || 1
  return () => {
    x ^= x << 13
    x ^= x >>> 17
    x ^= x << 5
    return x >>> 0
  }
}

/**
 * Hands out Buffers of bytes that do not compress, stamped with a number that grows. A Buffer comes
 * round again after `count` others.
 */
export function values(seed, count = 16384, bytes = VALUE_BYTES) {
  const next = random(seed)
  const pool = Array.from({ length: count }, () => {
    const value = Buffer.allocUnsafeSlow(bytes)
    for (let i = 0; i < bytes; i++) value[i] = next()
    return value
  })
  let n = 0
  return () => {
    const value = pool[n % count]
    value.writeUInt32LE(n++, 0)
    value.writeUInt32LE(seed >>> 0, 4)
    return value
  }
}

/** The same as strings. */
export function texts(seed, count = 16384, bytes = VALUE_BYTES) {
  const next = random(seed)
  const pool = Array.from({ length: count }, () => {
    let text = ''
    while (text.length < bytes - 10) text += next().toString(36)
    return text.slice(0, bytes - 10)
  })
  let n = 0
  return () => {
    const text = pool[n % count] + String(n).padStart(10, '0')
    n++
    return text
  }
}

/** Entries 0 to entries - 1 in chunks of pairs, for `load` and `batch`. */
export function* chunksOf({ entries, order, size = 10_000, valueBytes, text = false }) {
  const value = text ? texts(1) : values(1, 16384, valueBytes)
  const key = order === 'random' ? keyOf : (i) => `user:${String(i).padStart(10, '0')}`
  for (let i = 0; i < entries; i += size)
    yield Array.from({ length: Math.min(size, entries - i) }, (_, n) => [key(i + n), value()])
}

/** A number for people. */
export const count = (n) => (n >= 1e6 && n % 1e5 === 0 ? `${n / 1e6} M` : n.toLocaleString('en-US'))
