// One file per question; what each asks is said at its top. A case exports
//   title, unit, better ('more' or 'less'), stores (the first is measured against the others),
//   measure({ store, directory, prepared, seconds, ... })   in a process of its own; returns figures
//   prepare: 'loaded' if it wants a database of 1 M entries
import * as writers from './writers.js'
import * as counters from './counters.js'
import * as oneWriter from './one-writer.js'
import * as processes from './processes.js'
import * as pool from './pool.js'
import * as gets from './gets.js'
import * as getTexts from './get-texts.js'
import * as scan from './scan.js'
import * as batches from './batches.js'
import * as load from './load.js'
import * as recovery from './recovery.js'
import * as opening from './opening.js'
import * as space from './space.js'
import * as memory from './memory.js'

export const cases = {
  writers,
  counters,
  'one-writer': oneWriter,
  processes,
  pool,
  gets,
  'get-texts': getTexts,
  scan,
  batches,
  load,
  recovery,
  opening,
  space,
  memory,
}
