// Runs a program in mount and process namespaces of its own. What it mounts is seen by no other process,
// and when it ends, however it ends, the kernel kills what it has started and takes its mounts and
// loop devices away.
import { spawn, spawnSync } from 'node:child_process'
import { readdirSync, rmSync } from 'node:fs'
import { join } from 'node:path'
import { sleep } from '../lib/processes.js'
import { loopsOver } from './disk.js'

const MARK = 'MMAPDB_POWER_INSIDE'
/** Exit code for having been interrupted. */
const INTERRUPTED = 130
const GONE_MS = 20_000

export const isInside = (): boolean => process.env[MARK] !== undefined

/**
 * Runs this very program again, inside, and returns its exit code. `directory` is removed afterwards unless
 * the program says to keep it. `files`: what loop devices may be backed by.
 */
export async function runInside(directory: string, files: readonly string[]): Promise<number> {
  const args = ['--mount', '--propagation', 'private', '--pid', '--fork', '--kill-child=SIGKILL', '--mount-proc']
  const inner = spawn('unshare', [...args, process.execPath, ...process.execArgv, ...process.argv.slice(1)], {
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, [MARK]: directory },
  })
  let keep = false
  inner.on('message', () => (keep = true))
  // From the keyboard it goes to both; the one inside ends, and this one then tidies up.
  process.on('SIGINT', () => undefined)
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.on(signal, () => inner.kill('SIGKILL'))
  const code = await new Promise<number>((resolve) => inner.on('close', (status) => resolve(status ?? INTERRUPTED)))
  for (let waitedMs = 0; files.some((file) => loopsOver(file).length > 0); waitedMs += 20) {
    if (waitedMs > GONE_MS) {
      console.error(`a loop device over ${files.join(' or ')} is still there`)
      return 1
    }
    await sleep(20)
  }
  if (!keep) rmSync(directory, { recursive: true, force: true })
  return code
}

/** Inside: the directory to work in. */
export const insideDirectory = (): string => process.env[MARK]!

/** Inside: the directory is not to be removed. */
export const keepDirectory = (): Promise<void> =>
  new Promise((resolve) => void process.send!({ keep: true }, () => resolve()))

/** Inside: end when the outside does, or at an interrupt; the kernel does the rest. */
export function endWithOutside(): void {
  process.on('SIGINT', () => process.exit(INTERRUPTED))
  process.on('disconnect', () => {
    // The outside is dead and cannot tidy up.
    const directory = insideDirectory()
    for (const name of readdirSync(directory)) spawnSync('umount', ['-l', join(directory, name)], { stdio: 'ignore' })
    rmSync(directory, { recursive: true, force: true })
    process.exit(INTERRUPTED)
  })
  // Alone it does not keep this program running.
  process.channel?.unref()
}
