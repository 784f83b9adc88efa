// Runs the examples, each in a process of its own, with a temporary directory that is removed afterwards. Each
// checks its own result; the exit code is 1 if one of them fails or takes longer than two minutes.
//
//     node examples/run.js               all of them
//     node examples/run.js cache         only those that are named
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const TIME_LIMIT_MS = 120_000

const directory = fileURLToPath(new URL('.', import.meta.url))
const known = readdirSync(directory)
  .filter((name) => name.endsWith('.js') && name !== 'run.js')
  .map((name) => basename(name, '.js'))
const names = process.argv.length > 2 ? process.argv.slice(2) : known
const unknown = names.filter((name) => !known.includes(name))
if (unknown.length > 0) {
  console.error(`There is no example ${unknown.join(', ')}. There are: ${known.join(', ')}.`)
  process.exit(1)
}

const scratch = mkdtempSync(join(tmpdir(), 'mmapdb-examples-'))
try {
  for (const name of names) {
    const { status, signal, error, stdout, stderr } = spawnSync(process.execPath, [join(directory, `${name}.js`)], {
      cwd: scratch,
      env: { ...process.env, TMPDIR: scratch },
      timeout: TIME_LIMIT_MS,
      killSignal: 'SIGKILL',
      encoding: 'utf8',
    })
    if (status === 0) {
      console.log(`${name}: ${stdout.trim()}`)
      continue
    }
    process.exitCode = 1
    console.error(`${name}: FAILED, ${error?.message ?? (signal === null ? `exit code ${status}` : signal)}`)
    console.error(`${stdout}${stderr}`)
  }
  const left = readdirSync(scratch)
  if (left.length > 0 && process.exitCode !== 1) {
    process.exitCode = 1
    console.error(`The examples left something behind: ${left.join(', ')}`)
  }
} finally {
  rmSync(scratch, { recursive: true, force: true })
}
