// Damage that a check has found, and where.

/** A slot that is damaged, or that is not what the slot that leads to it says. */
export interface Damage {
  readonly slotNo: number
  readonly why: string
}

/** How many are listed: more would say nothing new. */
const MAX_DAMAGE = 100

/**
 * Collects damaged slots, at most 100.
 * @internal
 */
export class DamageList {
  readonly found: Damage[] = []

  note(slotNo: number, why: string): void {
    if (this.found.length < MAX_DAMAGE) this.found.push({ slotNo, why })
  }

  noteAll(damage: readonly Damage[]): void {
    for (const { slotNo, why } of damage) this.note(slotNo, why)
  }
}
