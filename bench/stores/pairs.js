// What stores share that have iterators of pairs and batches of pairs.

/** Walks pairs of key and value: at most `count` of them. */
export function walk(pairs, count = Infinity) {
  let walked = 0
  let bytes = 0
  if (count === 0) return { count: 0, bytes }
  for (const [key, value] of pairs) {
    bytes += key.length + value.length
    if (++walked === count) break
  }
  return { count: walked, bytes }
}

/** A load for stores that take it by batches. */
export async function loadByBatches(batch, chunks) {
  for (const chunk of chunks) await batch(chunk)
}

/** Names and values of a batch as abstract-level and mmapdb write them. */
export const operationsOf = (pairs) => pairs.map(([key, value]) => ({ type: 'put', key, value }))
