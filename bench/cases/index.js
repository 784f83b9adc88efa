// One file per question; what each asks is said at its top. A case exports
//   title(variant)   what is measured; `variant` has `entries`, too
//   group            the section and the chart that it belongs to
//   unit, per        of the figure, which is always a cost: less is better. `per` is what it is the cost of
//   stores           the first is compared with the others
//   selected         optional: those of them that a run without --full measures
//   skips            optional: (variant, store) => true if that store says nothing new there
//   variants         { quick: [...], full: [...] }: sets of parameters, each a row; without `quick`, in --full only.
//                    A `scale` multiplies the number of entries
//   database         'loaded': wants a database that is only read; 'copied': wants one for itself; 'none': an empty folder
//   isCold           whether it begins with what has not run, or is not in memory
//   measure(parameters)   in a process of its own. Returns { figure, cpuUs, anonymousMiB, latencies: { kind: ... }, notes }
import * as batches from './batches.js'
import * as cliLoad from './cli-load.js'
import * as closing from './closing.js'
import * as counters from './counters.js'
import * as empty from './empty.js'
import * as get from './get.js'
import * as getCold from './get-cold.js'
import * as getTexts from './get-texts.js'
import * as load from './load.js'
import * as memory from './memory.js'
import * as opening from './opening.js'
import * as processes from './processes.js'
import * as puts from './puts.js'
import * as putSync from './put-sync.js'
import * as ranges from './ranges.js'
import * as recovery from './recovery.js'
import * as scan from './scan.js'
import * as space from './space.js'
import * as threads from './threads.js'
import * as threadsFirst from './threads-first.js'
import * as ycsb from './ycsb.js'

export const cases = {
  get,
  'get-cold': getCold,
  'get-texts': getTexts,
  scan,
  ranges,
  'put-sync': putSync,
  puts,
  threads,
  'threads-first': threadsFirst,
  processes,
  counters,
  batches,
  load,
  ycsb,
  opening,
  closing,
  empty,
  recovery,
  'cli-load': cliLoad,
  space,
  memory,
}

export const GROUPS = {
  reads: 'Reads',
  writes: 'Single writes, each durable',
  batches: 'Batches and loads',
  ycsb: 'YCSB',
  opening: 'Opening and closing',
  space: 'Space',
}
