// mmapdb scan: prints the entries of a range in the order of their keys.
import { Command, Option } from 'commander'
import { EncodingError } from '../../errors.js'
import {
  encodingOf,
  globalsOf,
  jsonKeyOption,
  openToRead,
  spaceOf,
  storeOption,
  using,
  valueEncodingOption,
  whole,
  type KeyOptions,
} from '../shared/context.js'
import type { Key } from '../../encoding/keys.js'
import { jsonText, parseKey, plain, plainKey, printable, showKey, toJson } from '../../encoding/notation.js'
import { Lines, plural, tell } from '../shared/output.js'
import type { Range } from '../../engine/read/bounds.js'
import { belowHelp } from '../shared/terminal.js'

interface ScanOptions extends KeyOptions {
  readonly gte?: string
  readonly gt?: string
  readonly lte?: string
  readonly lt?: string
  readonly prefix?: string
  readonly reverse?: boolean
  readonly limit?: number
  readonly keys?: boolean
  readonly values?: boolean
  readonly skipBad?: boolean
}

const BOUNDS = ['gte', 'gt', 'lte', 'lt', 'prefix'] as const

export const scanCommand = (): Command =>
  new Command('scan')
    .description('Print entries in the order of their keys: key, tab, value as JSON. With --json one object per line.')
    .option('--gte <key>', 'from this key on')
    .option('--gt <key>', 'after this key')
    .option('--lte <key>', 'up to and including this key')
    .option('--lt <key>', 'up to but excluding this key')
    .option(
      '--prefix <key>',
      'only strings that begin with it, and arrays whose first element does; with --json-key and an array: only arrays that begin with its elements',
    )
    .option('--reverse', 'from the last to the first')
    .option('--limit <n>', 'at most this many', whole(0))
    .addOption(new Option('--keys', 'keys only').conflicts('values'))
    .addOption(new Option('--values', 'values only'))
    .option('--skip-bad', 'leave out entries whose values cannot be decoded, and say on stderr which')
    .addOption(storeOption())
    .addOption(jsonKeyOption())
    .addOption(valueEncodingOption())
    .addHelpText(
      'after',
      belowHelp(`
String keys are printed as they are, other keys as JSON: 5 is the number, "5" in quotes is the string.
Strings that could be taken for something else are in quotes. To use a printed key in another command,
give a plain string as it stands, and any other key with --json-key. Control characters are printed as
\\u001b. Everything printed is of one moment, also if the database is written to meanwhile.`),
    )
    .action(async (options: ScanOptions, command: Command) => {
      const { db, json } = globalsOf(command)
      const range: Record<string, unknown> = {}
      for (const bound of BOUNDS) {
        const text = options[bound]
        if (text !== undefined) range[bound] = parseKey(text, options.jsonKey ?? false)
      }
      if (options.reverse) range['reverse'] = true
      if (options.limit !== undefined) range['limit'] = options.limit
      const lines = new Lines()
      let bad = 0
      const leftOut = ({ code, message }: EncodingError): void => {
        bad++
        tell(json ? JSON.stringify({ warning: { code, message } }) : `mmapdb: left out: ${printable(message)}`)
      }
      try {
        await using(openToRead(db, encodingOf(options)), async (engine) => {
          const selection = options.keys ? 'keys' : options.values ? 'values' : 'entries'
          const items = engine.range(range as Range, selection, spaceOf(engine, options.store))
          for (const item of options.skipBad ? decodable(items, leftOut) : items) {
            const waiting = lines.write(lineOf(item, selection, json))
            if (waiting) await waiting
          }
        })
      } finally {
        // Whatever stopped it: what was read before that is of use.
        await lines.flush()
      }
      if (bad > 0) tell(json ? JSON.stringify({ leftOut: bad }) : `mmapdb: ${plural(bad, 'entry')} left out`)
    })

/** The items whose values can be decoded; calls `leftOut` for each of the others. */
function* decodable(items: Iterator<unknown>, leftOut: (error: EncodingError) => void): Generator<unknown> {
  for (;;) {
    try {
      const { done, value } = items.next()
      if (done) return
      yield value
    } catch (error) {
      if (!(error instanceof EncodingError)) throw error
      leftOut(error)
    }
  }
}

function lineOf(item: unknown, selection: 'keys' | 'values' | 'entries', json: boolean): string {
  if (selection === 'keys') return json ? jsonText({ key: plainKey(item) }) : showKey(item as Key)
  if (selection === 'values') return json ? jsonText({ value: plain(item) }) : toJson(item)
  const [key, value] = item as [Key, unknown]
  return json ? jsonText({ key: plainKey(key), value: plain(value) }) : `${showKey(key)}\t${toJson(value)}`
}
