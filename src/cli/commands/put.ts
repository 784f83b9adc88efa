// mmapdb put: stores one value.
import { Command, Option } from 'commander'
import { isUtf8 } from 'node:buffer'
import { putOptionsIn } from '../../engine/commit/conditions.js'
import { InvalidError } from '../../errors.js'
import {
  globalsOf,
  jsonKeyOption,
  openToWrite,
  storeOption,
  readStdin,
  using,
  valueEncodingOption,
  whole,
  type KeyOptions,
  engineOptions,
} from '../shared/context.js'
import { DEFAULT_ENCODING, type ValueEncoding } from '../../encoding/values/codec.js'
import { encodingInHeader } from '../../inspect/offline-files.js'
import { jsonText, NOTATION_HELP, parseKey, parseValue, plainKey } from '../../encoding/notation.js'
import { print } from '../shared/output.js'
import { belowHelp } from '../shared/terminal.js'

interface PutOptions extends KeyOptions {
  readonly jsonValue?: boolean
  readonly ttl?: number
}

export const putCommand = (): Command =>
  new Command('put')
    .description('Store a value under a key. Returns when it is on disk.')
    .argument('<key>', 'a string, or JSON with --json-key; write -- before a key that begins with a dash')
    .argument('<value>', 'a string, or JSON with --json-value; - reads it from stdin, byte for byte')
    .addOption(storeOption())
    .addOption(jsonKeyOption())
    .option('--json-value', 'the value is JSON: a number, object, array, ...')
    .addOption(new Option('--ttl <ms>', 'the entry expires after that many milliseconds').argParser(whole(1)))
    .addOption(valueEncodingOption())
    .addHelpText(
      'after',
      belowHelp(`
Examples:
  mmapdb put greeting hello                    a string
  mmapdb put user:1 '{"name":"Ada"}' --json-value
  mmapdb put 42 x --json-key                   under the number 42
  mmapdb put session:7 abc --ttl 60000         gone after a minute
  mmapdb put user:1 Ada --store users          in a named store, which is created if need be
  mmapdb put photo - --value-encoding binary < photo.jpg

${NOTATION_HELP}`),
    )
    .action(async (keyText: string, valueText: string, options: PutOptions, command: Command) => {
      const { db, json } = globalsOf(command)
      const key = parseKey(keyText, options.jsonKey ?? false)
      const given = valueText === '-' ? await readStdin() : valueText
      const { store, jsonValue = false } = options
      const valueEncoding = encodingFor(db, options)
      // Before anything is created, for one that cannot be stored.
      const value = valueOf(given, valueEncoding, jsonValue)
      const written = await using(openToWrite(db, store === undefined ? { valueEncoding } : {}), (engine) => {
        const space = store === undefined ? engine.main : engine.stores.open(store, options.valueEncoding)
        const fitting = space.values.name === valueEncoding ? value : valueOf(given, space.values.name, jsonValue)
        engine.put(key, fitting, putOptionsIn({ ttlMs: options.ttl }, engine.operations.clock), space)
        return json ? engine.getEntry(key, space) : undefined
      })
      const { version, expiresAt } = written ?? {}
      if (json)
        await print(jsonText({ key: plainKey(key), version, ...(expiresAt === undefined ? {} : { expiresAt }) }))
    })

/** How the value will be encoded, as far as that is known; a store may have been created with another encoding. */
const encodingFor = (db: string, { valueEncoding }: PutOptions): ValueEncoding =>
  valueEncoding ?? encodingInHeader(engineOptions(db)) ?? DEFAULT_ENCODING

function valueOf(given: string | Buffer, encoding: ValueEncoding, isJson: boolean): unknown {
  if (typeof given !== 'string') {
    if (encoding === 'binary') return given
    if (!isUtf8(given))
      throw new InvalidError(
        'The value on stdin is not UTF-8 text. A database that is created with --value-encoding binary takes bytes.',
      )
  }
  const value = parseValue(given.toString(), isJson)
  return encoding === 'binary' && typeof value === 'string' ? Buffer.from(value) : value
}
