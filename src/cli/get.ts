// mmapdb get: prints one value.
import { Command } from 'commander'
import { globalsOf, jsonKeyOption, openToRead, using, valueEncodingOption, type KeyOptions } from './common.js'
import { AbsentError, Ended, EXIT } from './failure.js'
import { parseKey, plain, showKey, toJson } from './notation.js'
import { print, printBytes } from './output.js'

export const getCommand = (): Command =>
  new Command('get')
    .description('Print the value of a key: strings and bytes as they are, everything else as JSON. Exit code 1 if it is absent.')
    .argument('<key>', 'a string, or JSON with --json-key')
    .addOption(jsonKeyOption())
    .addOption(valueEncodingOption())
    .action(async (keyText: string, options: KeyOptions, command: Command) => {
      const { db, json, quiet } = globalsOf(command)
      const key = parseKey(keyText, options.jsonKey ?? false)
      const entry = await using(openToRead(db, { valueEncoding: options.valueEncoding }), (engine) => engine.getEntry(key))
      if (entry === undefined) {
        if (quiet) throw new Ended(EXIT.ABSENT)
        throw new AbsentError(`There is no key ${showKey(key)}.`)
      }
      const { value, version } = entry
      if (json) await print(JSON.stringify({ key: plain(key), value: plain(value), version }))
      else if (value instanceof Uint8Array) await printBytes(value)
      else await print(typeof value === 'string' ? value : toJson(value))
    })
