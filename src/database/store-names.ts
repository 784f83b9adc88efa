// Which store a key of the tree is of, for those who meet it in the log. The catalog says it of the stores that there
// are; of one that was dropped, the log does, if it goes back to when the store was created.
import { KeySpace, storeOf } from '../encoding/key-space.js'
import { valueCodec } from '../encoding/values/codec.js'
import type { Engine } from '../engine/engine.js'
import { decodeStore, isStoreKey, nameOfStore } from '../engine/stores/catalog.js'
import type { LoggedChange } from '../wal/changes.js'

export class StoreNames {
  readonly #engine: Engine
  readonly #spaces = new Map<number, KeySpace | undefined>()
  #isListed = false

  constructor(engine: Engine) {
    this.#engine = engine
    this.#spaces.set(0, engine.main)
  }

  /** The store that a key of the tree is of; undefined for what is internal, and for a store that is not known. */
  of(treeKey: Buffer): KeySpace | undefined {
    const number = storeOf(treeKey)
    if (number === undefined) return undefined
    if (!this.#spaces.has(number) && !this.#isListed) this.#list()
    return this.#spaces.get(number)
  }

  /** Reads on in the log. Returns the name of the store that this change drops, if it does. */
  note({ type, key, value }: LoggedChange): string | undefined {
    if (!isStoreKey(key)) return undefined
    if (type === 'put') this.#add(decodeStore(key, value!))
    if (type !== 'del') return undefined
    const name = nameOfStore(key)
    for (const [number, space] of this.#spaces) if (space?.name === name) this.#spaces.delete(number)
    return name
  }

  #list(): void {
    this.#isListed = true
    for (const store of this.#engine.stores.list()) if (!this.#spaces.has(store.number)) this.#add(store)
  }

  #add(store: ReturnType<typeof decodeStore>): void {
    this.#spaces.set(store.number, new KeySpace(valueCodec(store.encoding), store))
  }
}
