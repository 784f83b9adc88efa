// What the power cuts need of the machine: root, FUSE, loop devices, a few Debian packages; and the
// programs in C, which are compiled when they are older than their source.
import { execFile, spawnSync } from 'node:child_process'
import { accessSync, constants, existsSync, mkdirSync, statSync } from 'node:fs'
import { delimiter, join } from 'node:path'
import { promisify } from 'node:util'
import { CannotRun } from '../lib/harness.js'
import { inPackage } from '../../src/package-root.js'

export const FILE_SYSTEMS = ['ext4', 'xfs'] as const
export type FileSystem = (typeof FILE_SYSTEMS)[number]

export interface Tools {
  /** The disk that can lose its power. */
  readonly disk: string
  readonly writeBack: string
  /** Preloaded to leave out flushes. */
  readonly lyingFlush: string
}

const PROGRAMS = {
  gcc: 'gcc',
  'pkg-config': 'pkg-config',
  'mkfs.ext4': 'e2fsprogs',
  'mkfs.xfs': 'xfsprogs',
  mount: 'mount',
  unshare: 'util-linux',
}
const FLAGS = ['-std=gnu11', '-O2', '-Wall', '-Wextra']

const SOURCES = inPackage('crash-tests/power/')
const TARGETS = inPackage('build/power/')

const onPath = (program: string): boolean =>
  [...(process.env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'].some((directory) =>
    existsSync(join(directory, program)),
  )

/** Throws `CannotRun` unless everything is there. */
function checkMachine(): void {
  if (process.getuid?.() !== 0)
    throw new CannotRun('Power cuts need root: they mount file systems over loop devices. Run this as root.')
  const packages = Object.entries(PROGRAMS).flatMap(([program, name]) => (onPath(program) ? [] : [name]))
  if (!packages.includes('pkg-config') && spawnSync('pkg-config', ['--exists', 'fuse3']).status !== 0)
    packages.push('libfuse3-dev', 'fuse3')
  if (packages.length > 0) {
    throw new CannotRun(
      `Power cuts need Debian packages that are not installed. Run: apt-get install ${[...new Set(packages)].join(' ')}`,
    )
  }
  for (const device of ['/dev/fuse', '/dev/loop-control']) {
    try {
      accessSync(device, constants.R_OK | constants.W_OK)
    } catch {
      throw new CannotRun(
        `Power cuts need ${device}, which is not there or not allowed: the kernel or the container does not offer it.`,
      )
    }
  }
}

function compile(source: string, target: string, flags: readonly string[], libraries: readonly string[]): string {
  const from = join(SOURCES, source)
  const to = join(TARGETS, target)
  if (existsSync(to) && statSync(to).mtimeMs > statSync(from).mtimeMs) return to
  mkdirSync(TARGETS, { recursive: true })
  const { status, stderr } = spawnSync('gcc', [...FLAGS, ...flags, '-o', to, from, ...libraries], { encoding: 'utf8' })
  if (status !== 0) throw new Error(`gcc could not compile ${from}:\n${stderr}`)
  return to
}

export function prepareTools(): Tools {
  checkMachine()
  const fuse = spawnSync('pkg-config', ['--cflags', '--libs', 'fuse3'], { encoding: 'utf8' }).stdout.trim().split(/\s+/)
  return {
    disk: compile('disk.c', 'power-disk', [], fuse),
    writeBack: compile('write-back.c', 'power-write-back', [], []),
    lyingFlush: compile('lying-flush.c', 'lying-flush.so', ['-shared', '-fPIC'], ['-ldl']),
  }
}

const execute = promisify(execFile)

/** Runs a program of the system to its end; throws what it says if it fails or takes too long. */
export async function run(program: string, args: readonly string[], limitMs = 20_000): Promise<string> {
  const env = { ...process.env, PATH: `${process.env['PATH'] ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' }
  const { stdout, stderr } = await execute(program, args, { env, timeout: limitMs, killSignal: 'SIGKILL' })
  return stdout + stderr
}
