// The databases in test/fixtures, as files: one folder for each encoding and ending, with `data.gz`, `wal/*.gz` and
// `made.json`. `control` is missing: it is for those that have the database open, and no part of the format.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { gunzipSync, gzipSync } from 'node:zlib'
import type { ValueEncoding } from '../../src/encoding/values/codec.js'
import type { Stats } from '../../src/engine/stats.js'
import { inPackage } from '../../src/package-root.js'
import type { Ending } from './fixture-content.js'

/** What the engine that made a database said of it. */
export interface Made {
  readonly uuid: string
  readonly entries: number
  readonly height: number
  readonly slots: Stats['slots']
  readonly checkpointNumber: number
  readonly segments: number
  /** Of a database that was killed: what recovery has to replay. */
  readonly replay: { readonly fromLsn: number; readonly toLsn: number; readonly frames: number; operations: number }
  /** Versions of the entries, in the order of their keys. */
  readonly versions: readonly number[]
}

/** The folder of a format. */
export const fixturesOf = (version: number): string => inPackage(`test/fixtures/format-${version}`)

export const folderOf = (version: number, encoding: ValueEncoding, ending: Ending): string =>
  join(fixturesOf(version), `${encoding}-${ending}`)

const filesOf = (directory: string): string[] => ['data', ...readdirSync(join(directory, 'wal')).map((n) => `wal/${n}`)]

/** Keeps the database at `path` in `folder`. */
export function pack(path: string, folder: string, made: Made): void {
  mkdirSync(join(folder, 'wal'), { recursive: true })
  for (const name of filesOf(path))
    writeFileSync(join(folder, `${name}.gz`), gzipSync(readFileSync(join(path, name)), { level: 9 }))
  writeFileSync(join(folder, 'made.json'), `${JSON.stringify(made)}\n`)
}

/** Makes a database at `path` of what `folder` keeps. */
export function unpack(folder: string, path: string): Made {
  for (const name of ['data.gz', ...readdirSync(join(folder, 'wal')).map((file) => `wal/${file}`)]) {
    const to = join(path, name.replace(/\.gz$/, ''))
    mkdirSync(dirname(to), { recursive: true })
    writeFileSync(to, gunzipSync(readFileSync(join(folder, name))))
  }
  return JSON.parse(readFileSync(join(folder, 'made.json'), 'utf8')) as Made
}
