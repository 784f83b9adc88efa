// If these fail, an error that users are promised has no class that they can import, no exit code or no line in
// the README, or it loses a part of its text or fields on its way from a worker.
import { readFileSync } from 'node:fs'
import { expect } from 'chai'
import {
  CorruptError,
  EncodingError,
  ERROR_CLASSES,
  EXIT_CODES,
  InvalidError,
  MmapdbError,
  OutcomeUnknownError,
  type MmapdbErrorCode,
} from '../src/errors.js'
import * as mmapdb from '../src/index.js'
import { StorageError } from '../src/storage/storage.js'
import { inPackage } from '../src/package-root.js'
import { fromErrorMessage, toErrorMessage } from '../src/workers/error-transport.js'

const CODES = Object.keys(EXIT_CODES) as MmapdbErrorCode[]

/** The error as another thread or process receives it. */
const sent = (error: unknown): Error => fromErrorMessage(structuredClone(toErrorMessage(error)))

describe('the table of errors', () => {
  it('has a class of its own name for each code, an exit code, and all of them are exported', () => {
    expect(Object.keys(ERROR_CLASSES).sort()).to.deep.equal([...CODES].sort())
    for (const code of CODES) {
      const Class = ERROR_CLASSES[code]
      const error = new Class('what happened')
      expect(error).to.be.instanceOf(MmapdbError)
      expect(error.code).to.equal(code)
      expect(error.name).to.equal(Class.name)
      expect((mmapdb as Record<string, unknown>)[Class.name]).to.equal(Class)
      expect(EXIT_CODES[code]).to.be.oneOf([2, 3, 4])
    }
  })

  it('is the table of the README', () => {
    const readme = readFileSync(inPackage('README.md'), 'utf8')
    const rows = [...readme.matchAll(/^\| `(\w+)` \| `(ERR_MMAPDB_\w+)` \|.*\| (\d) \|$/gm)]
    const documented = Object.fromEntries(rows.map(([, name, code, exit]) => [code, [name, Number(exit)]]))
    const expected = Object.fromEntries(CODES.map((code) => [code, [ERROR_CLASSES[code].name, EXIT_CODES[code]]]))
    expect(documented).to.deep.equal(expected)
  })
})

describe('errors between threads', () => {
  it('arrive with their class, message and every field', () => {
    for (const code of CODES) {
      const error = sent(new ERROR_CLASSES[code]('what happened'))
      expect(error).to.be.instanceOf(ERROR_CLASSES[code])
      expect(error.message).to.equal('what happened')
      expect((error as MmapdbError).code).to.equal(code)
    }
    const corrupt = sent(new CorruptError('rot', { lsn: 8, slotNo: 4, path: '/p' })) as CorruptError
    expect(corrupt.site).to.deep.equal({ lsn: 8, slotNo: 4, path: '/p' })
    const encoding = sent(new EncodingError('odd', { key: ['a', 1n, new Uint8Array([1])], slotNo: 4 })) as EncodingError
    expect(encoding.site).to.deep.equal({ key: ['a', 1n, new Uint8Array([1])], slotNo: 4 })
    expect((sent(new OutcomeUnknownError('who knows', 4096)) as OutcomeUnknownError).lsn).to.equal(4096)
  })

  it('arrive with what caused them', () => {
    const cause = new StorageError('fallocate', 'ENOSPC', '/p')
    const error = sent(new InvalidError('no', { cause: new InvalidError('since', { cause }) }))
    expect(error.cause).to.be.instanceOf(InvalidError)
    const first = (error.cause as Error).cause as Error
    expect(first).to.include({ message: cause.message, code: 'ENOSPC', syscall: 'fallocate', path: '/p' })
  })

  it('that are none of ours keep message and stack, and get no code', () => {
    const fault = new RangeError('a fault of mmapdb itself')
    const error = sent(fault)
    expect(error).to.not.be.instanceOf(MmapdbError)
    expect(error.message).to.equal(fault.message)
    expect(error.stack).to.equal(fault.stack)
    expect(sent('not even an error').message).to.equal('not even an error')
  })
})
