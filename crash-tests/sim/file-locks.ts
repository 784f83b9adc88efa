// Who holds which bytes of a file.

export interface ByteLocks<Holder> {
  exclusive: Holder | undefined
  readonly shared: Set<Holder>
}

export class FileLocks<Holder> {
  /** Of every byte that was ever asked for. */
  readonly bytes = new Map<number, ByteLocks<Holder>>()

  of(byte: number): ByteLocks<Holder> {
    let locks = this.bytes.get(byte)
    if (locks === undefined) this.bytes.set(byte, (locks = { exclusive: undefined, shared: new Set() }))
    return locks
  }
  drop(byte: number, holder: Holder): void {
    const locks = this.of(byte)
    if (locks.exclusive === holder) locks.exclusive = undefined
    locks.shared.delete(holder)
  }
}
