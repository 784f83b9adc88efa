// Which store a key of the tree is of, for those who meet it in the log. The catalog says it of the stores that there
// are, and of those that were dropped since the oldest write in the log; of those that were created after the catalog
// was read, the log does.
import { KeySpace, storeOf } from '../encoding/key-space.js'
import { valueCodec } from '../encoding/values/codec.js'
import type { Engine } from '../engine/engine.js'
import { decodeDropped, decodeStore, isDroppedKey, isStoreKey, nameOfStore } from '../engine/stores/catalog.js'
import type { LoggedChange } from '../wal/changes.js'

export class StoreNames {
  readonly #engine: Engine
  readonly #spaces = new Map<number, KeySpace | undefined>()
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
    return this.#spaces.get(number)
  }

  /** Reads on in the log. Returns the name of the store that this change drops, if it does. */
  note({ type, key, value }: LoggedChange): string | undefined {
    // The drop clears the range of the store, too, which is not to be told besides.
    if (type === 'put' && isDroppedKey(key)) this.#spaces.set(decodeDropped(key, value!).number, undefined)
    if (!isStoreKey(key)) return undefined
    if (type === 'put') this.#add(decodeStore(key, value!))
    if (type !== 'del') return undefined
    const name = nameOfStore(key)
    return name
  }

  /** Reads the catalog, once. */
  list(): void {
    if (this.#isListed) return
    this.#isListed = true
    const { stores } = this.#engine
    for (const store of [...stores.listDropped(), ...stores.list()]) this.#add(store)
  }

  #add(store: ReturnType<typeof decodeStore>): void {
    this.#spaces.set(store.number, new KeySpace(valueCodec(store.encoding), store))
  }
}
