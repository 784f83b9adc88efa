// Where measurements are made: folders, processes, and what is in memory when one begins.
import { execFileSync, spawnSync } from 'node:child_process'
import { cpSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { diskMiB } from './meter.js'
import { loadStore } from './stores/index.js'

const TIMEOUT_MS = 3_600_000

/** `root`: the folder for databases. */
export function laboratory(root) {
  mkdirSync(root, { recursive: true })
  return {
    /** Measures one store once; resolves to what the case says, or to { error } or { unavailable }. */
    async measure(row, store, { seconds, warmUpSeconds }) {
      const { kind = 'own', isFloor } = await describe(store)
      const scratch = join(root, 'scratch')
      rmSync(scratch, { recursive: true, force: true })
      const { database, isCold } = row.case
      let directory = scratch
      if (database !== 'none' && !isFloor) {
        const loaded = prepare(row, store, kind)
        if (loaded.error !== undefined || loaded.unavailable !== undefined) return loaded
        directory = loaded.directory
        if (database === 'copied') {
          cpSync(directory, scratch, { recursive: true })
          directory = scratch
        }
      }
      // What earlier runs have left to be written must not be on this one's bill.
      execFileSync('sync')
      if (row.name === 'get-cold') forget(directory)
      const { entries, variant } = row
      const result = run({
        name: row.name,
        store,
        directory,
        entries,
        seconds,
        warmUpSeconds,
        seed: freshSeed(),
        ...variant,
      })
      if (existsSync(directory) && !isFloor) result.diskMiB = diskMiB(directory)
      rmSync(scratch, { recursive: true, force: true })
      return isCold ? { ...result, isCold } : result
    },
  }

  /** A database of `entries` entries, loaded in random order by a store of this kind; kept for the next run. */
  function prepare({ entries, variant: { valueBytes, text } }, store, kind) {
    const directory = join(root, [kind, entries, valueBytes, text && 'text'].filter(Boolean).join('-'))
    if (existsSync(directory)) return { directory }
    const making = `${directory}.making`
    rmSync(making, { recursive: true, force: true })
    const result = run({ name: 'prepare', store, directory: making, entries, valueBytes, text })
    if (result.error === undefined && result.unavailable === undefined) renameSync(making, directory)
    return { ...result, directory }
  }
}

/** What is known of a store; of one that only a case knows, its name. */
export async function describe(store) {
  try {
    return await loadStore(store)
  } catch {
    return { title: store }
  }
}

function run(parameters) {
  const child = spawnSync(
    process.execPath,
    ['--expose-gc', fileURLToPath(new URL('child.js', import.meta.url)), JSON.stringify(parameters)],
    { encoding: 'utf8', maxBuffer: 2 ** 26, timeout: TIMEOUT_MS },
  )
  const line = child.stdout.split('\n').find((text) => text.startsWith('RESULT '))
  if (line !== undefined) return { ...JSON.parse(line.slice(7)), stderr: child.stderr }
  return { error: `the process ended with ${child.signal ?? child.status}`, stderr: child.stderr }
}

/** Asks the kernel to forget the pages of all files (dd does: posix_fadvise with DONTNEED). */
function forget(directory) {
  for (const name of readdirSync(directory, { recursive: true })) {
    const path = join(directory, name)
    if (!statSync(path).isFile()) continue
    execFileSync('dd', [`of=${path}`, 'oflag=nocache', 'conv=notrunc,fdatasync', 'count=0', 'status=none'])
  }
}

/** Another one for each measurement: SQLite writes nothing where a value is what is stored already. */
const freshSeed = () => Number(process.hrtime.bigint() % 2_000_000_000n) + 10_000
