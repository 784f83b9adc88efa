// mmapdb del: removes one key.
import { Command } from 'commander'
import {
  globalsOf,
  jsonKeyOption,
  openToWrite,
  spaceOf,
  storeOption,
  using,
  type KeyOptions,
} from '../shared/context.js'
import { AbsentError, Ended, EXIT } from '../shared/failure.js'
import { jsonText, otherKey, parseKey, plainKey, showKey } from '../../encoding/notation.js'
import { print } from '../shared/output.js'

export const delCommand = (): Command =>
  new Command('del')
    .description('Remove a key. Returns when the removal is on disk. Exit code 1 if the key is absent.')
    .argument('<key>', 'a string, or JSON with --json-key')
    .addOption(storeOption())
    .addOption(jsonKeyOption())
    .action(async (keyText: string, options: KeyOptions, command: Command) => {
      const { db, json, quiet } = globalsOf(command)
      const key = parseKey(keyText, options.jsonKey ?? false)
      const found = await using(openToWrite(db, { createIfMissing: false }), (engine) =>
        engine.del(key, undefined, spaceOf(engine, options.store)),
      )
      if (found) {
        if (json) await print(jsonText({ key: plainKey(key), deleted: true }))
        return
      }
      if (quiet) throw new Ended(EXIT.ABSENT)
      throw new AbsentError(`There is no key ${showKey(key)}.${otherKey(keyText, options.jsonKey)}`)
    })
