// The engine beside a sorted map: whatever a test does to both, they must give the same answers.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import fc from 'fast-check'
import type { BatchOperation } from '../../src/engine/commit/batch.js'
import type { Engine } from '../../src/engine/engine.js'
import type { EngineSnapshot } from '../../src/engine/read/snapshot.js'
import { decodeKey, encodeKey, KEY_BUFFER_BYTES, type Key } from '../../src/encoding/keys.js'
import { newAppendFields } from '../../src/wal/append-state.js'
import {
  cleanUp,
  crashCopy,
  dataFile,
  expectSound,
  openEngine,
  powerCutCopy,
  randomFrom,
  runs,
  scratchPath,
  seeded,
} from '../support/engine.js'
import type { Range } from '../../src/engine/read/bounds.js'

const keyBuffer = Buffer.alloc(KEY_BUFFER_BYTES)
/** The encoded key, with one character for each byte: the strings compare as the bytes do. */
const encoded = (key: Key): string => keyBuffer.toString('latin1', 0, encodeKey(key, keyBuffer))
const keyOf = (text: string): Key => {
  const bytes = Buffer.from(text, 'latin1')
  return decodeKey(bytes, 0, bytes.length)
}

interface Held {
  readonly value: Buffer
  readonly version: number
}
type Sorted = [string, Held][]

/** Some bytes of a given length, different for each `n`. */
function valueOf(lengthBytes: number, n: number): Buffer {
  const value = Buffer.alloc(lengthBytes, `${n}.`)
  if (lengthBytes > 4) value.writeUInt32LE(n, lengthBytes - 4)
  return value
}

class Pair {
  path = scratchPath()
  engine: Engine = openEngine(this.path)
  model = new Map<string, Held>()
  #snapshots: { snapshot: EngineSnapshot; sorted: Sorted }[] = []
  #counter = 0
  /** The data file as the last checkpoint left it; a power cut may bring back any page of it. */
  #flushed = readFileSync(dataFile(this.path))

  sorted(): Sorted {
    return [...this.model].sort(([a], [b]) => (a < b ? -1 : 1))
  }

  /** The LSN that the next frame gets. */
  #tail(): number {
    return this.engine.parts.control.append.read(newAppendFields()).tailLsn
  }
  #noteCheckpoint<T>(act: () => T): T {
    const before = this.engine.stats().checkpoint.number
    const result = act()
    if (this.engine.stats().checkpoint.number !== before) this.#flushed = readFileSync(dataFile(this.path))
    return result
  }

  put(key: Key, lengthBytes: number): void {
    this.batch([{ type: 'put', key, lengthBytes }], true)
  }
  del(key: Key): void {
    this.batch([{ type: 'del', key }], true)
  }

  batch(
    operations: ({ type: 'put'; key: Key; lengthBytes: number } | { type: 'del'; key: Key })[],
    single = false,
  ): void {
    const version = this.#tail()
    const real: BatchOperation[] = operations.map((o) =>
      o.type === 'put' ? { type: 'put', key: o.key, value: valueOf(o.lengthBytes, ++this.#counter) } : o,
    )
    this.#noteCheckpoint(() => {
      const [first] = real
      if (!single) this.engine.batch(real)
      else if (first!.type === 'put') this.engine.put(first!.key, first!.value)
      else this.engine.del(first!.key)
    })
    for (const o of real) {
      if (o.type === 'put') this.model.set(encoded(o.key), { value: o.value as Buffer, version })
      else this.model.delete(encoded(o.key))
    }
  }

  /** Clears the range from the key with the bytes `from` up to the one before `to`. */
  cut(from: string, to: string | undefined, isPutAgain = false): void {
    const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
    // In one group with puts before and after it, which go the same way down.
    const key = bytes(from)
    const version = this.#tail()
    this.#noteCheckpoint(() =>
      this.engine.write((frame) => {
        frame.put(key, key.length, Buffer.from('before'))
        frame.clear(key, to === undefined ? undefined : bytes(to))
        if (isPutAgain) frame.put(key, key.length, Buffer.from('after'))
      }),
    )
    for (const text of this.model.keys()) if (text >= from && (to === undefined || text < to)) this.model.delete(text)
    if (isPutAgain) this.model.set(from, { value: Buffer.from('after'), version })
  }

  snapshot(): void {
    if (this.#snapshots.length >= 4) this.closeSnapshot(0)
    this.#snapshots.push({ snapshot: this.engine.snapshot(), sorted: this.sorted() })
  }
  closeSnapshot(n: number): void {
    const [gone] = this.#snapshots.splice(n % Math.max(1, this.#snapshots.length), 1)
    gone?.snapshot.close()
  }
  checkpoint(): void {
    this.#noteCheckpoint(() => this.engine.checkpoint(true))
  }

  reopen(): void {
    this.engine.close()
    this.#openAt(this.path, false)
  }
  /** Every process dies. */
  crash(): void {
    this.#openAt(crashCopy(this.path), true)
  }
  /** The machine loses power. */
  powerCut(random: () => number): void {
    this.#openAt(powerCutCopy(this.path, this.#flushed, random), true)
  }
  #openAt(path: string, crashed: boolean): void {
    const entries = this.model.size
    // The crashed engine keeps its memory, and its locks on the old files; no test uses these files any more.
    this.#snapshots = []
    this.path = path
    this.engine = openEngine(path)
    expect(this.engine.recovery, 'the only opener recovers').to.not.equal(undefined)
    if (!crashed) expect(this.engine.recovery!.needed, 'recovery after a clean close').to.equal(false)
    expect(this.engine.stats().entries).to.equal(entries)
    this.#flushed = readFileSync(dataFile(path))
  }

  // ---- checks ------------------------------------------------------------------------------------

  check(random: () => number): void {
    const sorted = this.sorted()
    expect(this.engine.stats().entries).to.equal(sorted.length)
    compare([...this.engine.range(undefined, 'entries')] as [Key, Buffer][], sorted)
    const pick = (): string =>
      sorted.length === 0 ? encoded('none') : sorted[Math.floor(random() * sorted.length)]![0]
    for (let i = 0; i < 40; i++) this.#checkKey(keyOf(pick()))
    for (const key of ['', 'absent', 0, 1e300, null, [null], new Uint8Array(500), 'zz'.repeat(500)] as Key[])
      this.#checkKey(key)
    for (let i = 0; i < 12; i++) checkRange(this.engine, sorted, pick, random)
    for (const { snapshot, sorted: then } of this.#snapshots) {
      compare([...snapshot.range(undefined, 'entries')] as [Key, Buffer][], then)
      const [text, held] = then[Math.floor(random() * then.length)] ?? [encoded('none'), undefined]
      const entry = snapshot.getEntry(keyOf(text))
      expect(entry?.version).to.equal(held?.version)
      checkRange(snapshot, then, () => then[Math.floor(random() * then.length)]?.[0] ?? encoded(1), random)
    }
    expectSound(this.engine)
  }

  #checkKey(key: Key): void {
    const held = this.model.get(encoded(key))
    expect(this.engine.has(key)).to.equal(held !== undefined)
    const entry = this.engine.getEntry(key)
    expect(entry?.version).to.equal(held?.version)
    const value = this.engine.get(key) as Buffer | undefined
    if (held === undefined) {
      expect(value).to.equal(undefined)
    } else {
      expect(held.value.equals(value!), `value of ${String(key)}`).to.equal(true)
      expect(held.value.equals(entry!.value as Buffer)).to.equal(true)
    }
  }
}

function compare(got: [Key, Buffer][], expected: Sorted): void {
  expect(got.length).to.equal(expected.length)
  for (let i = 0; i < got.length; i++) {
    const [text, { value }] = expected[i]!
    if (encoded(got[i]![0]) !== text)
      expect.fail(`entry ${i} has the key ${String(got[i]![0])} and not ${String(keyOf(text))}`)
    if (!value.equals(got[i]![1])) expect.fail(`the value of ${String(keyOf(text))} differs`)
  }
}

/** One random combination of bounds, direction, limit and selection. */
function checkRange(
  source: Pick<Engine, 'range'> | EngineSnapshot,
  sorted: Sorted,
  pick: () => string,
  random: () => number,
): void {
  const range: Range = {}
  let kept = sorted
  const near = (): [Key, string] => {
    const text = pick()
    // On an entry, or between two entries.
    const key = keyOf(text)
    return random() < 0.6 || typeof key !== 'string' || text.length > 1000
      ? [key, text]
      : [`${key}!`, encoded(`${key}!`)]
  }
  const lower = random()
  if (lower < 0.6) {
    const [key, text] = near()
    if (lower < 0.3) {
      range.gte = key
      kept = kept.filter(([k]) => k >= text)
    } else {
      range.gt = key
      kept = kept.filter(([k]) => k > text)
    }
  }
  const upper = random()
  if (upper < 0.6) {
    const [key, text] = near()
    if (upper < 0.3) {
      range.lte = key
      kept = kept.filter(([k]) => k <= text)
    } else {
      range.lt = key
      kept = kept.filter(([k]) => k < text)
    }
  }
  if (random() < 0.2) {
    const [key] = near()
    if (typeof key === 'string') {
      const prefix = key.slice(0, 1 + Math.floor(random() * key.length))
      range.prefix = prefix
      kept = kept.filter(([k]) => k.startsWith(encoded(prefix)))
    } else if (Array.isArray(key)) {
      const parts = key as readonly (string | number)[]
      range.prefix = [parts[0]!]
      const start = encoded([parts[0]!])
      kept = kept.filter(([k]) => k.startsWith(start))
    }
  }
  expect(source.range(range, 'keys').count(), 'count').to.equal(kept.length)
  if (random() < 0.5) {
    range.reverse = true
    kept = [...kept].reverse()
  }
  if (random() < 0.5) {
    range.limit = Math.floor(random() * (kept.length + 2))
    kept = kept.slice(0, range.limit)
    expect(source.range(range, 'keys').count(), 'count with a limit').to.equal(kept.length)
  }
  compare([...source.range(range, 'entries')] as [Key, Buffer][], kept)
  expect([...source.range(range, 'keys')].map((key) => encoded(key as Key))).to.deep.equal(kept.map(([text]) => text))
  const values = [...source.range(range, 'values')] as Buffer[]
  expect(values.every((value, i) => value.equals(kept[i]![1].value))).to.equal(true)
}

// ---- operations ----------------------------------------------------------------------------------

const MAX_INLINE = 1016
/** Keys of every shape, from a set small enough that the same keys come up again. */
const SHAPES: ((n: number) => Key)[] = [
  (n) => `key ${n}`,
  (n) => n - 150,
  (n) => `${'p'.repeat(900)}${n}`,
  (n) => `${n}`.padStart(1024, '.'),
  (n) => ['pair', n % 7, `${n}`],
  (n) => [n % 5],
  (n) => Uint8Array.of(n >> 4, n & 15, 255, 0),
  (n) => 2n ** 60n + BigInt(n),
  (n) => `${'same start '.repeat(20)}${n}${' and the same end'.repeat(20)}`,
  (n) => String.fromCharCode(n * 200, n),
]
const n = fc.nat({ max: 300 })
const shape = fc.nat({ max: SHAPES.length - 1 })
const length = fc.oneof(
  { weight: 4, arbitrary: fc.nat({ max: 60 }) },
  { weight: 2, arbitrary: fc.integer({ min: 60, max: 900 }) },
  { weight: 2, arbitrary: fc.integer({ min: MAX_INLINE - 40, max: MAX_INLINE + 4 }) },
  { weight: 1, arbitrary: fc.constantFrom(0, 1, 4063, 4064, 4065, 8128, 8129, 20_000) },
  { weight: 1, arbitrary: fc.integer({ min: 60_000, max: 100_000 }) },
)
type Step =
  | { do: 'put'; shape: number; n: number; length: number }
  | { do: 'del'; shape: number; n: number }
  | { do: 'again'; at: number; length: number }
  | { do: 'drop'; at: number }
  | { do: 'batch'; of: { put: boolean; shape: number; n: number; length: number }[] }
  | {
      do: 'run'
      order: 'up' | 'down' | 'random' | 'interleaved'
      count: number
      length: number
      batch: boolean
      tag: number
    }
  | { do: 'clear'; from: number; to: number; batch: boolean; every: number }
  | { do: 'cut'; from: number; to: number; between: boolean }
  | { do: 'snapshot' | 'checkpoint' | 'reopen' | 'crash' }
  | { do: 'unsnapshot'; n: number }
  | { do: 'powerCut'; seed: number }

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('put' as const), shape, n, length }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('del' as const), shape, n }) },
  { weight: 4, arbitrary: fc.record({ do: fc.constant('again' as const), at: fc.nat(), length }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant('drop' as const), at: fc.nat() }) },
  {
    weight: 4,
    arbitrary: fc.record({
      do: fc.constant('batch' as const),
      of: fc.array(fc.record({ put: fc.boolean(), shape, n, length }), { maxLength: 30 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('run' as const),
      order: fc.constantFrom('up' as const, 'down' as const, 'random' as const, 'interleaved' as const),
      count: fc.integer({ min: 1, max: 150 }),
      length: fc.oneof(fc.nat({ max: 100 }), fc.integer({ min: 100, max: 1010 })),
      batch: fc.boolean(),
      tag: fc.nat({ max: 3 }),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('clear' as const),
      from: fc.double({ min: 0, max: 1, noNaN: true }),
      to: fc.double({ min: 0, max: 1, noNaN: true }),
      batch: fc.boolean(),
      every: fc.constantFrom(1, 1, 1, 2, 5),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      do: fc.constant('cut' as const),
      from: fc.double({ min: 0, max: 1, noNaN: true }),
      to: fc.double({ min: 0, max: 1.2, noNaN: true }),
      between: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ do: 'snapshot' as const }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('unsnapshot' as const), n: fc.nat({ max: 5 }) }) },
  { weight: 3, arbitrary: fc.constant({ do: 'checkpoint' as const }) },
  { weight: 1, arbitrary: fc.constant({ do: 'reopen' as const }) },
  { weight: 2, arbitrary: fc.constant({ do: 'crash' as const }) },
  { weight: 2, arbitrary: fc.record({ do: fc.constant('powerCut' as const), seed: fc.nat() }) },
)

function take(pair: Pair, s: Step): void {
  switch (s.do) {
    case 'put':
      return pair.put(SHAPES[s.shape]!(s.n), s.length)
    case 'del':
      return pair.del(SHAPES[s.shape]!(s.n))
    case 'again':
    case 'drop': {
      const texts = [...pair.model.keys()]
      if (texts.length === 0) return
      const key = keyOf(texts[s.at % texts.length]!)
      return s.do === 'again' ? pair.put(key, s.length) : pair.del(key)
    }
    case 'batch':
      return pair.batch(
        s.of.map((o) => {
          const key = SHAPES[o.shape]!(o.n)
          return o.put ? { type: 'put', key, lengthBytes: o.length } : { type: 'del', key }
        }),
      )
    case 'run': {
      const random = randomFrom(s.count)
      const keys = Array.from({ length: s.count }, (_, i): Key => {
        const at = s.order === 'down' ? s.count - i : s.order === 'random' ? Math.floor(random() * 1e6) : i
        return s.order === 'interleaved'
          ? `run ${s.tag} ${i % 3} ${String(i).padStart(6, '0')}`
          : `run ${s.tag} ${String(at).padStart(6, '0')}`
      })
      if (s.batch) return pair.batch(keys.map((key) => ({ type: 'put', key, lengthBytes: s.length })))
      for (const key of keys) pair.put(key, s.length)
      return
    }
    case 'clear': {
      const texts = pair.sorted().map(([text]) => text)
      const [low, high] = [Math.min(s.from, s.to), Math.max(s.from, s.to)]
      const gone = texts
        .slice(Math.floor(low * texts.length), Math.ceil(high * texts.length))
        .filter((_, i) => i % s.every === 0)
      if (s.batch) return pair.batch(gone.map((text) => ({ type: 'del', key: keyOf(text) })))
      for (const text of gone) pair.del(keyOf(text))
      return
    }
    case 'cut': {
      const texts = pair.sorted().map(([text]) => text)
      const at = (share: number): string | undefined => texts[Math.floor(share * texts.length)]
      const from = at(Math.min(s.from, s.to)) ?? encoded(null)
      const to = at(Math.max(s.from, s.to))
      // Bounds are keys of the tree, or lie between two of them.
      const isBetween = s.between && from.length < 1000 && (to?.length ?? 0) < 1000
      if (from === to) return
      if (isBetween) return pair.cut(`${from}\0`, to === undefined ? undefined : `${to}\0`)
      return pair.cut(from, to, s.between)
    }
    case 'snapshot':
      return pair.snapshot()
    case 'unsnapshot':
      return pair.closeSnapshot(s.n)
    case 'checkpoint':
      return pair.checkpoint()
    case 'reopen':
      return pair.reopen()
    case 'crash':
      return pair.crash()
    case 'powerCut':
      return pair.powerCut(randomFrom(s.seed))
  }
}

describe('the engine, beside a sorted map', function () {
  this.timeout(120_000)
  afterEach(cleanUp)

  it('says the same after any sequence of writes, snapshots, checkpoints, closes and crashes', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), fc.nat(), (steps, seed) => {
        const random = randomFrom(seed)
        const pair = new Pair()
        try {
          steps.forEach((s, i) => {
            take(pair, s)
            if (i % 5 === 4 || ['reopen', 'crash', 'powerCut'].includes(s.do)) pair.check(random)
          })
          pair.check(random)
          pair.reopen()
          pair.check(random)
        } finally {
          cleanUp()
        }
      }),
      runs(20),
    )
  })

  for (const order of ['up', 'down', 'random', 'interleaved'] as const) {
    it(`says the same when 2000 keys are put ${order}, overwritten, and deleted by and by`, () => {
      seeded((random) => {
        const pair = new Pair()
        for (let i = 0; i < 5; i++) {
          take(pair, { do: 'run', order, count: 400, length: 10 + 40 * i, batch: i % 2 === 0, tag: i })
          if (i === 2) pair.snapshot()
        }
        pair.check(random)
        for (const text of pair.sorted().map(([t]) => t))
          if (random() < 0.2) pair.put(keyOf(text), Math.floor(random() * 300))
        pair.check(random)
        pair.powerCut(random)
        pair.check(random)
        pair.snapshot()
        for (const every of [5, 2, 1]) {
          const texts = pair.sorted().map(([t]) => t)
          if (order === 'random') texts.sort(() => random() - 0.5)
          for (let i = 0; i < texts.length; i += every) pair.del(keyOf(texts[i]!))
          pair.check(random)
          pair.crash()
          pair.check(random)
        }
        expect(pair.model.size).to.equal(0)
        expect(pair.engine.stats().height).to.equal(0)
        pair.reopen()
        pair.check(random)
      })
    })
  }

  it('says the same when keys and values are as long as they may be', () => {
    seeded((random) => {
      const pair = new Pair()
      for (let i = 0; i < 150; i++) {
        const key = `${Math.floor(random() * 1000)}`.padStart(random() < 0.5 ? 1024 : 1000, 'k')
        pair.put(key, Math.floor(random() * 40))
        if (i % 10 === 0) pair.put(key, Math.floor(random() * 100_000))
      }
      pair.check(random)
      expect(pair.engine.stats().height).to.be.greaterThan(3)
      pair.powerCut(random)
      pair.check(random)
      for (const [text] of pair.sorted()) if (random() < 0.8) pair.del(keyOf(text))
      pair.check(random)
      pair.reopen()
      pair.check(random)
    })
  })
})
