// A program that TypeScript compiles to CommonJS, with `module` of node16: Node.js loads the package with `require`.
import { Database, InvalidError, MmapdbError, open, Snapshot, type Key, type Range } from 'mmapdb'
import mmapdb = require('mmapdb')

export async function main(): Promise<void> {
  const db: Database<string, string> = await open('db', { valueEncoding: 'utf8' })
  const range: Range<string> = { lt: undefined }
  for (const [key, value] of db.range(range)) key.concat(value)
  const isOne: boolean = db instanceof Database && db.snapshot() instanceof Snapshot
  const key: Key = 5
  await (await mmapdb.open<number>('db')).put(key, 5)
  if (!isOne) throw new InvalidError('no', { cause: new Error('why') })
  // @ts-expect-error keys are strings
  db.get(5)
  // The same types as those of an import.
  const imported = await import('mmapdb')
  const same: Database<string, string> = await imported.open<string, string>('db')
  void same
}

export const codeOf = (error: unknown): string | undefined => (error instanceof MmapdbError ? error.code : undefined)
class Mine extends InvalidError {}
export const mine: MmapdbError = new Mine('mine')
