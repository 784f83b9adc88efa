// Which kind of operation a client does next.
import type { Random } from '../lib/random.js'
import { CHANGING_KINDS } from './changing-kinds.js'
import { KINDS, type Kind } from './kinds.js'

const ALL: readonly Kind[] = [...KINDS, ...CHANGING_KINDS]

/** One of them, by weight. */
export function someKind(random: Random): Kind {
  let at = random.next() * ALL.reduce((sum, { weight }) => sum + weight, 0)
  return ALL.find(({ weight }) => (at -= weight) < 0) ?? ALL[0]!
}
