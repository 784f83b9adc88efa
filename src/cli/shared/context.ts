// What the commands share: the options that every command takes, numbers with limits, and opening the
// database the way the command needs it.
import { Command, InvalidArgumentError, Option } from 'commander'
import { quoted } from '../../describe.js'
import type { KeySpace } from '../../encoding/key-space.js'
import { InvalidError, NotFoundError } from '../../errors.js'
import { Engine } from '../../engine/engine.js'
import { resolveOptions, type ResolvedOptions, type OpenOptions } from '../../engine/options.js'
import { VALUE_ENCODINGS, type ValueEncoding } from '../../encoding/values/codec.js'
import { posixStorage } from '../../storage/posix.js'

export interface Globals {
  readonly db: string
  readonly json: boolean
  readonly verbose: boolean
  readonly quiet: boolean
}

/** Options for the engine that do not depend on the command: set by `globalsOf`. */
let everywhere: OpenOptions = {}

export const globalsOf = (command: Command): Globals => {
  const options = command.optsWithGlobals<Partial<Globals> & { reserveBytes?: number; timeout?: number }>()
  everywhere = {
    ...(options.reserveBytes === undefined ? {} : { reserveBytes: options.reserveBytes }),
    ...(options.timeout === undefined ? {} : { timeoutMs: options.timeout }),
  }
  return {
    db: options.db ?? (process.env['MMAPDB_PATH'] || './mmapdb-data'),
    json: options.json ?? false,
    verbose: options.verbose ?? false,
    quiet: options.quiet ?? false,
  }
}

/** A whole number from `least` to `most`, for commander. Takes 1_000, 1e6 and 64KiB, 1MiB, 1GiB, 1TiB too. */
export function whole(least: number, most = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const match = /^(\d[\d_]*(?:e\d{1,2})?)(k|m|g|t)?(?:i?b)?$/i.exec(text.trim())
    const unit = { k: 1024, m: 1024 ** 2, g: 1024 ** 3, t: 1024 ** 4 }[match?.[2]?.toLowerCase() ?? ''] ?? 1
    const n = match ? Number(match[1]!.replaceAll('_', '')) * unit : Number.NaN
    if (!Number.isSafeInteger(n) || n < least || n > most) {
      const range = most === Number.MAX_SAFE_INTEGER ? `${least} or more` : `from ${least} to ${most}`
      throw new InvalidArgumentError(`It must be a whole number, ${range}.`)
    }
    return n
  }
}

export const jsonKeyOption = (): Option =>
  new Option('--json-key', 'keys are JSON: 5, "text", [1,"a"], true, null, {"base64":"..."}, {"bigint":"..."}')

export const valueEncodingOption = (): Option =>
  new Option(
    '--value-encoding <name>',
    'how values are stored: chosen when the database is created (default: msgpack), recorded there, and not needed later',
  ).choices(VALUE_ENCODINGS)

export const storeOption = (): Option => new Option('--store <name>', 'in the named store, not in the default store')

/** The key space that a command works in. Throws `NotFoundError` if there is no such store. */
export function spaceOf(engine: Engine, store: string | undefined): KeySpace {
  if (store === undefined) return engine.main
  if (!engine.stores.has(store)) throw noStore(engine, store)
  return engine.stores.open(store, undefined)
}

function noStore(engine: Engine, store: string): NotFoundError {
  const names = engine.stores.list().map(({ name }) => quoted(name))
  const others = names.length === 0 ? 'no named stores' : `these: ${names.slice(0, 20).join(', ')}`
  return new NotFoundError(`There is no store ${quoted(store)} in this database. It has ${others}.`)
}

export interface KeyOptions {
  readonly store?: string
  readonly jsonKey?: boolean
  readonly valueEncoding?: ValueEncoding
}

/** The encoding that the user gave, as an option for `open`. */
export const encodingOf = ({ valueEncoding }: { readonly valueEncoding?: ValueEncoding }): OpenOptions =>
  valueEncoding === undefined ? {} : { valueEncoding }

/**
 * A command that does one thing and ends needs little space set aside for it in the log. Other processes that
 * have the database open keep the size that they chose.
 */
const ONE_SHOT: OpenOptions = { workers: 0, segmentBytes: 1024 * 1024 }

/** For commands that read: never creates a database. */
export const openToRead = (path: string, options: OpenOptions = {}): Engine =>
  Engine.open(resolveOptions(path, { ...ONE_SHOT, ...everywhere, ...options, readOnly: true }), posixStorage)

export const openToWrite = (path: string, options: OpenOptions = {}): Engine =>
  Engine.open(resolveOptions(path, { ...ONE_SHOT, ...everywhere, ...options }), posixStorage)

/** Opens the database as recovery would leave it, in this process's own memory. Changes nothing. */
export const openToInspect = (path: string, options: OpenOptions = {}): Engine =>
  Engine.inspect(resolveOptions(path, { ...ONE_SHOT, ...everywhere, ...options }), posixStorage)

/** The options that the user gave for every command. */
export const everywhereOptions = (): OpenOptions => everywhere

export const engineOptions = (path: string, options: OpenOptions = {}): ResolvedOptions =>
  resolveOptions(path, { workers: 0, ...everywhere, ...options })

/** Closes the engine after `act`, also if that throws. */
export async function using<T>(engine: Engine, act: (engine: Engine) => T | Promise<T>): Promise<T> {
  try {
    return await act(engine)
  } finally {
    engine.close()
  }
}

/** All of stdin. */
export async function readStdin(): Promise<Buffer> {
  if (process.stdin.isTTY)
    throw new InvalidError('Nothing is piped into stdin. Give the value as an argument, or pipe it in.')
  const parts: Buffer[] = []
  for await (const part of process.stdin) parts.push(part as Buffer)
  return Buffer.concat(parts)
}
