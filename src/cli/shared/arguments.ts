// Arguments and environment variables that are not UTF-8 text: Node.js puts U+FFFD in place of such bytes,
// and different keys would become one.
import { isUtf8 } from 'node:buffer'
import { readFileSync } from 'node:fs'
import { InvalidError } from '../../errors.js'

const REPLACED = '\ufffd'

/** Throws `InvalidError` if an argument, or $MMAPDB_PATH, is not UTF-8. */
export function checkArguments(): void {
  const args = process.argv.slice(2)
  if (args.some((arg) => arg.includes(REPLACED))) {
    const given = zeroTerminated('/proc/self/cmdline').slice(-args.length)
    const wrong = given.findIndex((bytes) => !isUtf8(bytes))
    if (wrong >= 0) {
      throw new InvalidError(
        `Argument ${wrong + 1} is not UTF-8 text: ${args[wrong]!}. Give a key of other bytes as ` +
          `--json-key '{"base64":"..."}', and a value on stdin with --value-encoding binary.`,
      )
    }
  }
  if (process.env['MMAPDB_PATH']?.includes(REPLACED)) {
    const name = Buffer.from('MMAPDB_PATH=')
    const given = zeroTerminated('/proc/self/environ').find((bytes) => bytes.subarray(0, name.length).equals(name))
    if (given && !isUtf8(given)) throw new InvalidError('$MMAPDB_PATH is not UTF-8 text. Use a path that is.')
  }
}

function zeroTerminated(path: string): Buffer[] {
  const bytes = readFileSync(path)
  const parts: Buffer[] = []
  for (let from = 0, end = bytes.indexOf(0); end >= 0; from = end + 1, end = bytes.indexOf(0, from))
    parts.push(bytes.subarray(from, end))
  return parts
}
