// Entries that expire, found by the index of them (encoding/expiry-key.ts), in the order of their times.
import {
  EXPIRY_INDEX_FROM,
  EXPIRY_PREFIX_BYTES,
  isExpiryKey,
  NEVER,
  timeOfExpiryKey,
} from '../../encoding/expiry-key.js'
import { readVersion } from '../format/leaf-cell.js'
import type { StateFields } from '../shared/control.js'
import { Cursor, type TreeReader } from './reader.js'

/** The earliest time in the index of the tree of `state`; `NEVER` if it is empty. */
export function earliestExpiry(reader: TreeReader, state: StateFields): number {
  const cursor = new Cursor(reader, state)
  if (!cursor.seek(EXPIRY_INDEX_FROM, EXPIRY_INDEX_FROM.length, false)) return NEVER
  const { leaf, index } = cursor
  const at = leaf.keyAt(index)
  return isExpiryKey(leaf.u8, at) ? timeOfExpiryKey(leaf.u8, at) : NEVER
}

/** What is to be removed of an entry that has expired. */
export interface ExpiredEntry {
  /** The key of the entry; or, if that is gone or has another time by now, what the index still has of it. */
  readonly key: Buffer
  readonly version: number
  /** When the entry has expired; undefined for what the index still has. */
  readonly expiresAt: number | undefined
}

/** What has expired at `nowMs` in the tree of `state`, in order, up to `most` of it. The tree must be pinned. */
export function expiredEntries(reader: TreeReader, state: StateFields, nowMs: number, most: number): ExpiredEntry[] {
  const cursor = new Cursor(reader, state)
  const found: ExpiredEntry[] = []
  cursor.seek(EXPIRY_INDEX_FROM, EXPIRY_INDEX_FROM.length, false)
  for (; cursor.valid && found.length < most; cursor.next()) {
    const { leaf, index } = cursor
    const at = leaf.keyAt(index)
    if (!isExpiryKey(leaf.u8, at)) break
    const time = timeOfExpiryKey(leaf.u8, at)
    if (!(time <= nowMs)) break
    const indexKey = Buffer.from(leaf.u8.subarray(at, at + leaf.keyLength(index)))
    const indexVersion = readVersion(leaf.u16, leaf.base + leaf.cellOffset(index))
    const key = indexKey.subarray(EXPIRY_PREFIX_BYTES)
    const isThere = reader.find(state, key, key.length) && reader.expires && reader.expiresAt === time
    found.push(
      isThere
        ? { key, version: reader.version, expiresAt: time }
        : { key: indexKey, version: indexVersion, expiresAt: undefined },
    )
  }
  return found
}
