// What is printed of a history that is not linearizable: the smallest part of it that was found, and where an order of
// its operations comes to an end.
import { operationText, type History, type Operation } from './operations.js'
import { search } from './search.js'
import { shrink } from './shrink.js'

const MAX_LINES = 60

interface Explanation {
  /** A history by itself, which can be written down and checked again. */
  readonly small: History
  readonly text: string
}

const some = (lines: readonly string[]): string[] =>
  lines.length <= MAX_LINES
    ? [...lines]
    : [...lines.slice(0, MAX_LINES / 2), `... ${lines.length - MAX_LINES} more`, ...lines.slice(-MAX_LINES / 2)]

/** Of operations that failed. */
export function explain(operations: readonly Operation[], initial: History['initial'], limitMs: number): Explanation {
  const left = shrink(operations, initial, limitMs).sort((a, b) => a.start - b.start)
  const keys = new Set(
    left.flatMap(({ steps }) => steps.flatMap((step) => (step.do === 'count' ? step.keys : [step.key]))),
  )
  const atFirst = Object.entries(initial).filter(([key]) => keys.has(key))
  const zero = left[0]?.start ?? 0
  const texts = (list: readonly Operation[]): string[] => some(list.map((one) => `    ${operationText(one, zero)}`))
  const lines = [
    `These ${left.length} of ${operations.length} operations have no order (milliseconds from call to return):`,
    ...some(
      atFirst.map(([key, { value, version }]) => `    at first: ${key} = ${value} (version ${version ?? 'not known'})`),
    ),
    ...texts(left),
  ]
  const found = search(left, initial, performance.now() + limitMs)
  if (found.verdict === 'not linearizable') {
    const { done, next, state } = found.deadEnd
    lines.push(
      'The longest order that was found is',
      ...texts(done.map((i) => left[i]!)),
      'which leaves',
      ...some(state.map((text) => `    ${text}`)),
      'and then one of these must come, and none fits:',
      ...texts(next.map((i) => left[i]!)),
    )
  }
  return { small: { initial: Object.fromEntries(atFirst), operations: left }, text: lines.join('\n') }
}
