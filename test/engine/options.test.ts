// If this fails, `open` takes an option that it cannot keep to, or refuses one that it can.
import { expect } from 'chai'
import { resolveOptions, type OpenOptions } from '../../src/engine/options.js'
import { cleanUp, expectError } from '../support/engine.js'

describe('options', () => {
  afterEach(cleanUp)

  it('out of their limits, of another type or unknown are refused, and those at the limits taken', () => {
    const bad: Record<string, unknown>[] = [
      { workers: -1 },
      { workers: 65 },
      { workers: 1.5 },
      { workers: '2' },
      { workers: Number.NaN },
      { windowBytes: 65535 },
      { windowBytes: 3 * 65536 },
      { windowBytes: 2 ** 31 },
      { reserveBytes: 65536 },
      { reserveBytes: 2 ** 45 },
      { segmentBytes: 4095 },
      { segmentBytes: 2 ** 35 },
      { checkpointBytes: 65535 },
      { checkpointBytes: 2 ** 41 },
      { timeoutMs: 0 },
      { timeoutMs: 3_600_001 },
      { timeoutMs: Infinity },
      { maxInFlightBytes: 1 },
      { maxInFlightBytes: null },
      { maxHeldBytes: 65_535 },
      { maxHeldBytes: '1' },
      { valueEncoding: 'xml' },
      { valueEncoding: '' },
      { createIfMissing: 1 },
      { readOnly: 'yes' },
      { allowNetworkFileSystem: 0 },
      { retain: 5 },
      { retain: null },
      { retain: {} },
      { retain: { bytes: undefined } },
      { retain: { bytes: -1 } },
      { retain: { bytes: '1' } },
      { retain: { bytes: 2 ** 45 } },
      { retain: { ms: 1.5 } },
      { retain: { ms: 1e14 } },
      { retain: { bytes: 1, days: 1 } },
      { retain: { bytes: 1 }, readOnly: true },
      { unknown: 1 },
      { path: '/x' },
    ]
    for (const options of bad) expectError(() => resolveOptions('/p', options as OpenOptions), 'ERR_MMAPDB_INVALID')
    expectError(
      () => resolveOptions('/p', { workers: '2' } as unknown as OpenOptions),
      'ERR_MMAPDB_INVALID',
      /from 0 to 64, not "2"/,
    )
    for (const path of ['', undefined, 7, null]) expectError(() => resolveOptions(path as string), 'ERR_MMAPDB_INVALID')
    for (const options of [null, 7, 'x'])
      expectError(() => resolveOptions('/p', options as unknown as OpenOptions), 'ERR_MMAPDB_INVALID')
    for (const good of [
      {},
      { workers: 0 },
      { workers: 64 },
      { windowBytes: 65536 },
      { windowBytes: 2 ** 30 },
      { segmentBytes: 4096 },
      { segmentBytes: 2 ** 34 },
      { reserveBytes: 2 ** 20 },
      { reserveBytes: 2 ** 20 + 1 },
      { reserveBytes: 2 ** 44 },
      { checkpointBytes: 2 ** 40 },
      { retain: undefined },
      { retain: { bytes: 0 } },
      { retain: { bytes: 2 ** 44, ms: Infinity } },
      { retain: { bytes: Infinity, ms: 3_000_000_000_000 } },
      { timeoutMs: 1 },
      { workers: undefined },
    ]) {
      resolveOptions('/p', good as OpenOptions)
    }
    expect(resolveOptions('/p', { readOnly: true }).createIfMissing).to.equal(false)
    expect(resolveOptions('/p', { readOnly: true, createIfMissing: true }).createIfMissing).to.equal(false)
  })
})
