// What is found damaged, and where.

/** A damaged slot, or one that is not what leads to it says. */
export interface Damage {
  readonly slotNo: number
  readonly why: string
}

/** Damage that is listed: more of it says nothing new. */
const MAX_DAMAGE = 100

/** Collects damage, at most 100 of it. */
export class DamageList {
  readonly found: Damage[] = []

  note(slotNo: number, why: string): void {
    if (this.found.length < MAX_DAMAGE) this.found.push({ slotNo, why })
  }

  noteAll(damage: readonly Damage[]): void {
    for (const { slotNo, why } of damage) this.note(slotNo, why)
  }
}
