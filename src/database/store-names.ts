// Which store a key of the tree is of, for those who meet it in the log. The catalog says it of the stores that there
// are, and of those that were dropped since the oldest write in the log; of those that were created after the catalog
// was read, the log does.
import { KeySpace, storeOf } from '../encoding/key-space.js'
import { valueCodec } from '../encoding/values/codec.js'
import type { Engine } from '../engine/engine.js'
import {
  decodeDropped,
  decodeStore,
  isDroppedKey,
  isStoreKey,
  nameOfStore,
  type StoreRecord,
} from '../engine/stores/catalog.js'
import type { LoggedChange } from '../wal/changes.js'

export class StoreNames {
  readonly #engine: Engine
  readonly #records = new Map<number, StoreRecord>()
  /** Of those that were met. */
  readonly #spaces = new Map<number, KeySpace>()
  #isListed = false

  /** For those who read the log: `list` must be called before they do. */
  constructor(engine: Engine) {
    this.#engine = engine
    this.#spaces.set(0, engine.main)
  }

  /** The store that a key of the tree is of; undefined for what is internal, and for a store that is not known. */
  of(treeKey: Buffer): KeySpace | undefined {
    const number = storeOf(treeKey)
    if (number === undefined) return undefined
    let space = this.#spaces.get(number)
    const record = this.#records.get(number)
    if (space === undefined && record !== undefined)
      this.#spaces.set(number, (space = new KeySpace(valueCodec(record.encoding), record)))
    return space
  }

  /** Reads on in the log. Returns the name of the store that this change drops, if it does. */
  note({ type, key, value }: LoggedChange): string | undefined {
    // The drop clears the range of the store, too, which is not to be told besides.
    if (type === 'put' && isDroppedKey(key)) this.#forget(decodeDropped(key, value!))
    if (!isStoreKey(key)) return undefined
    if (type === 'put') this.#add(decodeStore(key, value!))
    return type === 'del' ? nameOfStore(key) : undefined
  }

  /** Reads the catalog, once. */
  list(): void {
    if (this.#isListed) return
    this.#isListed = true
    const { stores } = this.#engine
    for (const store of [...stores.listDropped(), ...stores.list()]) this.#add(store)
  }

  #add(store: StoreRecord): void {
    this.#records.set(store.number, store)
  }
  #forget({ number }: StoreRecord): void {
    this.#records.delete(number)
    this.#spaces.delete(number)
  }
}
