// Values of every kind through every encoding. What an encoding takes must come back equal, in kind and in content;
// what it cannot carry it must refuse, and say where in the value that is. A failure is made as small as can be, and
// repeated by its seed and path. Of every 20,000 values some also go through a database, and are read in all the ways
// there are, from the database that wrote them and after it was opened again.
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import fc from 'fast-check'
import { EncodingError, InvalidError } from '../../src/errors.js'
import { valueCodec, VALUE_ENCODINGS, type ValueEncoding } from '../../src/encoding/values/codec.js'
import { open } from '../../src/index.js'
import { fileSystemOf } from '../lib/evidence.js'
import { announce, prove, type Outcome } from '../lib/harness.js'
import { anyValue, isCarried, isSame } from './any-value.js'

const codecs = VALUE_ENCODINGS.map(valueCodec)
const AROUND = 8

/** Throws what is wrong with how `value` is stored. */
function roundTrip(value: unknown): void {
  for (const codec of codecs) {
    const carried = isCarried(value, codec.name)
    let bytes: Uint8Array
    try {
      bytes = codec.encode(value)
    } catch (error) {
      if (!(error instanceof InvalidError))
        throw new Error(`${codec.name}: refused with ${String(error)}`, { cause: error })
      if (carried) throw new Error(`${codec.name}: refused what it can carry: ${error.message}`, { cause: error })
      if (!/^This value cannot be stored|^undefined cannot be stored/.test(error.message))
        throw new Error(`${codec.name}: ${error.message}`, { cause: error })
      continue
    }
    if (!carried) throw new Error(`${codec.name}: took what it cannot carry`)
    const stored = Buffer.alloc(bytes.length + 2 * AROUND, 0x41)
    stored.set(bytes, AROUND)
    const got = codec.decode(stored, AROUND, AROUND + bytes.length)
    const comesBack = codec.name === 'binary' ? Buffer.from(value as Uint8Array) : value
    if (!isSame(comesBack, got)) throw new Error(`${codec.name}: comes back as another value`)
    stored.fill(0)
    if (!isSame(comesBack, got))
      throw new Error(`${codec.name}: what came back changes with the bytes it was read from`)
    cutShort(codec, bytes)
  }
}

/** The first part of a value is a value of its own or an error; it is never read beyond its end. */
function cutShort(codec: (typeof codecs)[number], bytes: Uint8Array): void {
  if (codec.name === 'binary' || bytes.length > 200) return
  const part = Buffer.from(bytes.subarray(0, bytes.length >> 1))
  try {
    codec.decode(part, 0, part.length)
  } catch (error) {
    if (!(error instanceof EncodingError)) throw error
  }
}

/** Throws, with the smallest value that shows it, if one of `count` values does not pass. */
export function checkRoundTrips(count: number, seed: number): void {
  fc.assert(fc.property(anyValue(15), roundTrip), { numRuns: count, seed })
}

/** Values of all kinds in a database at `path`, which must not be there yet. Throws what does not come back. */
export async function checkDatabase(
  path: string,
  valueEncoding: ValueEncoding,
  count: number,
  seed: number,
): Promise<void> {
  const expected = new Map<string, unknown>()
  const values = fc.sample(anyValue(15), { numRuns: count, seed }).filter((value) => isCarried(value, valueEncoding))
  if (valueEncoding === 'utf8') values.push(...fc.sample(fc.string({ unit: 'grapheme' }), { numRuns: count, seed }))
  if (valueEncoding === 'binary') values.push(...fc.sample(fc.uint8Array(), { numRuns: count, seed }))
  const hold = (key: string, got: unknown): void => {
    const put = expected.get(key)
    const back = valueEncoding === 'binary' ? Buffer.from(put as Uint8Array) : put
    if (!isSame(back, got))
      throw new Error(`${valueEncoding}, seed ${seed}: the value of ${key} comes back as another one`)
  }
  let db = await open(path, { valueEncoding, workers: 1 })
  try {
    await Promise.all(
      values.map((value, i) => {
        expected.set(`key ${i}`, value)
        return i % 3 === 0 ? db.put(`key ${i}`, value) : db.batch([{ type: 'put', key: `key ${i}`, value }])
      }),
    )
    for (let again = 0; again < 2; again++) {
      for (const [key] of expected) hold(key, db.get(key))
      for (const [key, value] of db.range({ reverse: again === 1 })) hold(key as string, value)
      const keys = [...expected.keys()]
      ;(await db.getMany(keys)).forEach((value, i) => hold(keys[i]!, value))
      if (db.count() !== expected.size)
        throw new Error(`${valueEncoding}, seed ${seed}: there are ${db.count()} of ${expected.size} values`)
      await db.close()
      db = await open(path, { workers: 0 })
    }
  } finally {
    await db.close()
  }
}

const BATCH = 20_000
const IN_DATABASE = 200
const DEFAULT_COUNT = 1_000_000

async function tryValues(count: number, run: { seed: number; isTimeUp: boolean }): Promise<Outcome> {
  const directory = mkdtempSync(join(tmpdir(), 'mmapdb-round-trips-'))
  const fileSystem = fileSystemOf(directory)
  const problems: string[] = []
  let done = 0
  let batchSeed = run.seed
  try {
    do {
      batchSeed = (run.seed + done) | 0
      const values = Math.min(BATCH, count - done)
      checkRoundTrips(values, batchSeed)
      const valueEncoding = VALUE_ENCODINGS[(done / BATCH) % VALUE_ENCODINGS.length]!
      await checkDatabase(join(directory, String(done)), valueEncoding, IN_DATABASE, batchSeed)
      rmSync(join(directory, String(done)), { recursive: true })
      done += values
    } while (done < count && !run.isTimeUp)
  } catch (error) {
    problems.push((error as Error).message)
  } finally {
    rmSync(directory, { recursive: true, force: true })
  }
  return {
    problems,
    result: problems.length === 0 ? 'every value that was taken came back' : 'a value did not come back',
    counts: { values: done, encodings: VALUE_ENCODINGS.length, databases: Math.ceil(done / BATCH) },
    fileSystem,
    repeatWith: `--seed ${batchSeed} --count ${BATCH}`,
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  await prove({
    name: 'round-trips',
    proves:
      'that what a value encoding takes comes back equal, in kind and in content, and that it refuses what it cannot ' +
      'carry and says where in the value that is.',
    takes: 'about a minute for 100,000 values; nothing but Node.js.',
    seed: { help: 'what the values are made of' },
    minutes: { help: `no further ${BATCH} values after that time` },
    options: {
      count: { kind: 'count', value: 'N', help: `how many values (default: ${DEFAULT_COUNT}; none with --minutes)` },
    },
    run: (run) => {
      const count = run.numberIfGiven('count') ?? (run.minutes === undefined ? DEFAULT_COUNT : Infinity)
      announce('round-trips', run, count === Infinity ? 'values' : `${count} values`)
      return tryValues(count, run)
    },
  })
}
