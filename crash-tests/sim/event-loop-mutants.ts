// Safeguards of the event loop: what is asked for as soon as possible comes, and the loop has its turns.
import { one, type TestedMutant } from './tested-mutant.js'

export const EVENT_LOOP_MUTANTS: readonly TestedMutant[] = [
  one(
    'a microtask that was not to be had is taken for one that comes',
    ['database/stack-used-up', 'refuses getMany'],
    'soon.js',
    'queueMicrotask(() => {',
    'this.#isComing = true;\n        queueMicrotask(() => {',
  ),
  {
    name: 'a write is queued before it is sure that the queue will be sent',
    test: ['database/stack-used-up', 'refuses a write'],
    changes: [
      { file: 'database/write-queue.js', from: 'this.#sending.ask();', to: '' },
      {
        file: 'database/write-queue.js',
        from: 'pending.settle.push(settle);',
        to: 'pending.settle.push(settle);\n        this.#sending.ask();',
      },
    ],
  },
  one(
    'calls that stay on their thread follow each other for ever in one turn',
    ['database/event-loop.serial', 'are awaited in a loop (0 workers)'],
    'database/turns.js',
    'nowMs - sinceMs < LONGEST_MS',
    'true',
  ),
]
