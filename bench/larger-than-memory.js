// A database several times larger than the memory that its process may use, page cache included.
//   node larger-than-memory.js [--limit-mib 256] [--factor 8] [--seconds 10] [--stores a,b] [--dir DIR]
// Needs root: see cgroup.js. The directory must be on a disk: what lies on tmpfs is memory itself.
//
// Each store loads, in the order of keys; is read at random, by the calling thread and asynchronously;
// by range; is written at random; is killed while it writes, and opened again. Each phase is a process of
// its own under the limit, and begins with nothing of the files in memory. The reads are repeated
// without a limit and with everything in memory, to show what the limit costs.
import { execFileSync, spawn } from 'node:child_process'
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { limitedMemory } from './cgroup.js'
import { fileSystem, machine, machineText } from './machine.js'

const { values: options } = parseArgs({
  options: {
    'limit-mib': { type: 'string', default: '256' },
    factor: { type: 'string', default: '8' },
    seconds: { type: 'string', default: '10' },
    stores: { type: 'string', default: 'mmapdb,lmdb-single-pages,lmdb-durable' },
    phases: {
      type: 'string',
      default: 'load,get,get-async,scan,put,killed,recover,get in memory,get-async in memory,scan in memory',
    },
    dir: { type: 'string', default: fileURLToPath(new URL('data', import.meta.url)) },
    keep: { type: 'boolean', default: false },
    json: { type: 'boolean', default: false },
  },
})
const limitBytes = Number(options['limit-mib']) * 2 ** 20
const seconds = Number(options.seconds)
/** Four of these fill a page of 4096 bytes as well as a value of this kind can, in either store. */
const VALUE_BYTES = 900
const entries = Math.ceil((limitBytes * Number(options.factor)) / 1024)
const root = resolve(options.dir)
mkdirSync(root, { recursive: true })
if (fileSystem(root) === 'tmpfs')
  throw new Error(`${root} is on tmpfs, which is memory: choose a directory on a disk with --dir`)

console.log(machineText(machine(root)))
console.log(
  `limit ${options['limit-mib']} MiB, ${entries.toLocaleString('en-US')} entries of ${VALUE_BYTES} bytes (${(entries / 2 ** 20).toFixed(1)} GiB), ${seconds} s each`,
)
const results = {}
for (const store of options.stores.split(',')) {
  const directory = join(root, `larger-${store.split('=')[0]}`)
  if (!options.keep) rmSync(directory, { recursive: true, force: true })
  console.log(`\n## ${store}`)
  results[store] = {}
  let acknowledged
  for (const phase of options.phases.split(',')) {
    const [what, inMemory] = [phase.replace(' in memory', ''), phase.endsWith(' in memory')]
    const result = await run(
      { phase: what, store, directory, entries, seconds, valueBytes: VALUE_BYTES, acknowledged, warm: inMemory },
      !inMemory,
    )
    if (what === 'killed') acknowledged = result.acknowledged
    results[store][phase] = result
    console.log(
      `${phase.padEnd(20)} ${Object.entries(result)
        .map(([key, value]) => `${key} ${format(value)}`)
        .join(', ')}`,
    )
  }
  if (!options.keep) rmSync(directory, { recursive: true, force: true })
}
if (options.json) console.log(JSON.stringify(results))

/** Runs one phase in a process of its own; with a limit, from a cold start. */
async function run(parameters, limited) {
  if (limited) dropFromMemory(parameters.directory)
  const group = limited ? limitedMemory(limitBytes) : undefined
  const script = fileURLToPath(new URL('larger-than-memory-phase.js', import.meta.url))
  const child = spawn(
    'sh',
    ['-c', `${group?.script ?? ':'} && exec "$0" "$@"`, process.execPath, script, JSON.stringify(parameters)],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
    },
  )
  let output = ''
  let errors = ''
  let killing
  child.stdout.setEncoding('utf8').on('data', (text) => {
    output += text
    // It writes until it is killed.
    if (parameters.phase === 'killed') killing ??= setTimeout(() => child.kill('SIGKILL'), parameters.seconds * 1000)
  })
  child.stderr.setEncoding('utf8').on('data', (text) => (errors += text))
  const signal = await new Promise((done) => child.on('close', (code, sig) => done(sig ?? code)))
  const peakMiB = group === undefined ? undefined : group.peakBytes() / 2 ** 20
  group?.remove()
  if (parameters.phase === 'killed') {
    if (signal !== 'SIGKILL')
      throw new Error(`${parameters.phase} of ${parameters.store} ended with ${signal}: ${errors}`)
    return {
      acknowledged: Number(
        output
          .trimEnd()
          .split('\n')
          .filter((line) => /^\d+$/.test(line))
          .at(-1),
      ),
    }
  }
  const line = output.split('\n').find((text) => text.startsWith('RESULT '))
  if (line === undefined) throw new Error(`${parameters.phase} of ${parameters.store} ended with ${signal}: ${errors}`)
  const result = JSON.parse(line.slice(7))
  if (parameters.phase === 'load') result.fileGiB = bytesOf(parameters.directory) / 2 ** 30
  if (peakMiB !== undefined) result.peakMiB = peakMiB
  return result
}

function filesOf(directory) {
  if (!existsSync(directory)) return []
  return readdirSync(directory, { recursive: true })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile())
}

function bytesOf(directory) {
  return filesOf(directory).reduce((sum, path) => sum + statSync(path).size, 0)
}

/** Flushes the files and asks the kernel to forget their pages (dd does: posix_fadvise with DONTNEED). */
function dropFromMemory(directory) {
  for (const path of filesOf(directory))
    execFileSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'])
}

function format(x) {
  if (typeof x !== 'number') return String(x)
  return Math.abs(x) >= 100 ? Math.round(x).toLocaleString('en-US') : x.toFixed(2)
}
