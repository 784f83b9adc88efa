// The list of named stores, as entries that the database keeps for itself:
//
//   01 01           how many stores there have been: a number, in msgpack (the counter that `add` adds to)
//   01 02 name      a store: its number (3 bytes, big-endian), and the number of its value encoding (1 byte). The name
//                   is UTF-8
//   01 04 number    a store that has been dropped (3 bytes, big-endian): the number of its value encoding (1 byte),
//                   then its name. It stays for as long as the log may have what was written to that store
//
// A number is never given to another store. So what a dropped store leaves behind is never taken for that of another.
import { AREA } from '../../encoding/key-space.js'
import { encodingNumber, encodingOf, type ValueEncoding } from '../../encoding/values/codec.js'
import { advice, CorruptError, InvalidError } from '../../errors.js'
import { quoted } from '../../describe.js'

const STORES = 2
const DROPPED = 4
const AREA_BYTES = 2
const RECORD_BYTES = 4

/** Longest name of a store, in bytes of UTF-8. */
const MAX_NAME_BYTES = 255

/** The key under which stores are counted. */
export const COUNTER_KEY = Buffer.from([AREA.INTERNAL, 1])
/** All stores have keys in [from, to). */
export const STORE_KEYS = { from: Buffer.from([AREA.INTERNAL, STORES]), to: Buffer.from([AREA.INTERNAL, STORES + 1]) }

/** All stores that have been dropped have keys in [from, to). */
export const DROPPED_KEYS = {
  from: Buffer.from([AREA.INTERNAL, DROPPED]),
  to: Buffer.from([AREA.INTERNAL, DROPPED + 1]),
}

/** One named store. */
export interface StoreRecord {
  readonly name: string
  readonly number: number
  readonly encoding: ValueEncoding
}

/** The key of a store. Throws `InvalidError` for what cannot be a name. */
export function storeKey(name: unknown): Buffer {
  if (typeof name !== 'string' || name === '' || !name.isWellFormed())
    throw new InvalidError(`The name of a store must be a text of 1 to ${MAX_NAME_BYTES} bytes, not ${quoted(name)}.`)
  const text = Buffer.from(name)
  if (text.length > MAX_NAME_BYTES)
    throw new InvalidError(`The name of a store may have at most ${MAX_NAME_BYTES} bytes of UTF-8, not ${text.length}.`)
  return Buffer.concat([STORE_KEYS.from, text])
}

export function encodeStore(number: number, encoding: ValueEncoding): Buffer {
  const record = Buffer.alloc(RECORD_BYTES)
  record.writeUIntBE(number, 0, RECORD_BYTES - 1)
  record[RECORD_BYTES - 1] = encodingNumber(encoding)
  return record
}

/** True for the key of a store. */
export const isStoreKey = (key: Uint8Array): boolean => key[0] === AREA.INTERNAL && key[1] === STORES

/** The name of the store with that key. */
export const nameOfStore = (key: Uint8Array): string => Buffer.from(key.subarray(AREA_BYTES)).toString()

/** The key of a store that has been dropped. */
export function droppedKey(number: number): Buffer {
  const key = Buffer.alloc(AREA_BYTES + RECORD_BYTES - 1)
  DROPPED_KEYS.from.copy(key)
  key.writeUIntBE(number, AREA_BYTES, RECORD_BYTES - 1)
  return key
}

/** True for the key of a store that has been dropped. */
export const isDroppedKey = (key: Uint8Array): boolean => key[0] === AREA.INTERNAL && key[1] === DROPPED

export const encodeDropped = ({ encoding, name }: StoreRecord): Buffer =>
  Buffer.concat([Buffer.from([encodingNumber(encoding)]), Buffer.from(name)])

export function decodeDropped(key: Buffer, value: Buffer): StoreRecord {
  const encoding = value.length > 1 ? encodingOf(value[0]!) : undefined
  if (encoding === undefined || key.length !== AREA_BYTES + RECORD_BYTES - 1)
    throw new CorruptError(`The entry of a store that was dropped is damaged. ${advice.restoreOrSalvage}`)
  return { name: value.toString('utf8', 1), number: key.readUIntBE(AREA_BYTES, RECORD_BYTES - 1), encoding }
}

export function decodeStore(key: Uint8Array, value: Uint8Array): StoreRecord {
  const name = nameOfStore(key)
  const encoding = value.length === RECORD_BYTES ? encodingOf(value[RECORD_BYTES - 1]!) : undefined
  if (encoding === undefined)
    throw new CorruptError(`The entry of store ${quoted(name)} is damaged. ${advice.restoreOrSalvage}`)
  return { name, number: Buffer.from(value).readUIntBE(0, RECORD_BYTES - 1), encoding }
}
