// The request distributions of YCSB (Cooper, Silberstein, Tam, Ramakrishnan, Sears: Benchmarking Cloud Serving Systems
// with YCSB, SoCC 2010), with the generator of Gray et al. (Quickly Generating Billion-Record Synthetic Databases,
// SIGMOD 1994) that YCSB uses.

/** YCSB's constant: how much the popular ones are preferred. */
const THETA = 0.99

/**
 * Draws ranks from 0 to items - 1, of which rank r has a probability in proportion to 1 / (r + 1)^0.99.
 * `uniform` returns a number from 0 to 1.
 */
export function zipfian(items, uniform) {
  const zeta = (n) => {
    let sum = 0
    for (let i = 1; i <= n; i++) sum += i ** -THETA
    return sum
  }
  const zetaN = zeta(items)
  const alpha = 1 / (1 - THETA)
  const eta = (1 - (2 / items) ** (1 - THETA)) / (1 - zeta(2) / zetaN)
  return () => {
    const u = uniform()
    const uz = u * zetaN
    if (uz < 1) return 0
    if (uz < 1 + 0.5 ** THETA) return 1
    return Math.min(items - 1, Math.floor(items * (eta * u - eta + 1) ** alpha))
  }
}

/** The same with the popular ones spread over all items, by a hash of the rank. */
export function scrambledZipfian(items, uniform) {
  const rank = zipfian(items, uniform)
  return () => hash(rank()) % items
}

/** FNV-1a of the 4 bytes of a number, 32 bits of it. */
function hash(x) {
  let h = 0x811c9dc5
  for (let shift = 0; shift < 32; shift += 8) h = Math.imul(h ^ ((x >>> shift) & 0xff), 0x01000193)
  return h >>> 0
}
