// mmapdb get: prints one value.
import { Command } from 'commander'
import { isUtf8 } from 'node:buffer'
import {
  encodingOf,
  globalsOf,
  jsonKeyOption,
  openToRead,
  spaceOf,
  storeOption,
  using,
  valueEncodingOption,
  type KeyOptions,
} from '../shared/context.js'
import { AbsentError, Ended, EXIT } from '../shared/failure.js'
import { jsonText, otherKey, parseKey, plain, plainKey, showKey, shownText, toJson } from '../../encoding/notation.js'
import { print, printBytes } from '../shared/output.js'

export const getCommand = (): Command =>
  new Command('get')
    .description(
      'Print the value of a key: strings and bytes as they are (in a terminal with control characters escaped), everything else as JSON. Exit code 1 if the key is absent.',
    )
    .argument('<key>', 'a string, or JSON with --json-key')
    .addOption(storeOption())
    .addOption(jsonKeyOption())
    .addOption(valueEncodingOption())
    .action(async (keyText: string, options: KeyOptions, command: Command) => {
      const { db, json, quiet } = globalsOf(command)
      const key = parseKey(keyText, options.jsonKey ?? false)
      const entry = await using(openToRead(db, encodingOf(options)), (engine) =>
        engine.getEntry(key, spaceOf(engine, options.store)),
      )
      if (entry === undefined) {
        if (quiet) throw new Ended(EXIT.ABSENT)
        throw new AbsentError(`There is no key ${showKey(key)}.${otherKey(keyText, options.jsonKey)}`)
      }
      const { value, ...rest } = entry
      if (json) await print(jsonText({ key: plainKey(key), value: plain(value), ...rest }))
      else if (value instanceof Uint8Array) await (process.stdout.isTTY ? print(shownBytes(value)) : printBytes(value))
      else if (typeof value === 'string') await print(process.stdout.isTTY ? shownText(value) : value)
      else await print(toJson(value))
    })

/** Bytes for a terminal. */
const shownBytes = (bytes: Uint8Array): string =>
  isUtf8(bytes) ? shownText(Buffer.from(bytes).toString()) : toJson(bytes)
