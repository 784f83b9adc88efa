// A file system on a disk that can lose its power: an image file, over it a layer that forgets
// (disk.c), over that a loop device, and in it ext4 or xfs, mounted with default options.
//
//   image ── power-disk (FUSE) ── /dev/loopN ── ext4 or xfs
//
// After a cut the image alone is mounted, over a loop device of its own, and the file system repairs
// itself from its journal as it would at boot.
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process'
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { monotonicMs } from '../lib/journal.js'
import { sleep } from '../lib/processes.js'
import { run, type FileSystem, type Tools } from './tools.js'

/** What survives of the writes that no flush has covered; see disk.c. */
export type CutMode = 'none' | 'all' | 'prefix' | 'requests' | 'sectors' | 'any'
export type CutEvent = 'now' | 'flush-started' | 'flush-done' | 'write'

/** What the layer says of a cut. */
export interface CutReport {
  readonly cut: CutEvent
  readonly mode: CutMode
  /** Of the monotonic clock. */
  readonly atMs: number
  readonly writes: number
  readonly flushes: number
  /** Sectors with writes that no flush had covered, and how many versions they had. */
  readonly sectors: number
  readonly versions: number
  /** What was found in these afterwards: the newest version, an older one, what was durable. */
  readonly keptNewest: number
  readonly keptOlder: number
  readonly lost: number
}

interface DiskCounters {
  readonly off: boolean
  readonly writes: number
  readonly sectorsWritten: number
  readonly flushes: number
  readonly flushesDone: number
  readonly closes: number
  readonly refused: number
  readonly dirtySectors: number
}

/** The file system itself did not come through: nothing can be said of what is in it. */
class FileSystemFailure extends Error {}

/** xfs wants 300 MiB at least. */
const IMAGE_BYTES = 320 * 1024 * 1024
const FLUSH_LATENCY_MAX_US = 1500
const GONE_MS = 15_000

type Answer = CutReport | DiskCounters | { readonly ready: true }

/** The layer: a process that answers one line for each command, and one of its own when power goes off. */
class Layer {
  readonly #process: ChildProcessWithoutNullStreams
  readonly #exited: Promise<void>
  #errorOutput = ''
  readonly ready: Promise<void>
  /** Resolves when the power is off. */
  readonly off: Promise<CutReport>
  #onCounters: ((counters: DiskCounters) => void) | undefined

  constructor(program: string, image: string, mountPoint: string) {
    // In a session of its own: an interrupt from the keyboard is for others.
    this.#process = spawn(program, [image, mountPoint, String(FLUSH_LATENCY_MAX_US)], { stdio: 'pipe', detached: true })
    this.#process.stderr.setEncoding('utf8').on('data', (text: string) => (this.#errorOutput += text))
    this.#process.stdin.on('error', () => undefined)
    let isReady = (): void => undefined
    let isOff = (_report: CutReport): void => undefined
    let neverReady = (_error: Error): void => undefined
    let neverOff = neverReady
    this.ready = new Promise((resolve, reject) => ((isReady = resolve), (neverReady = reject)))
    this.off = new Promise((resolve, reject) => ((isOff = resolve), (neverOff = reject)))
    // Who waits for it gets the error.
    this.off.catch(() => undefined)
    this.#exited = new Promise((resolve) =>
      this.#process.on('close', (code, signal) => {
        const error = new Error(`the disk ended with ${signal ?? code}: ${this.#errorOutput}`)
        neverReady(error)
        neverOff(error)
        resolve()
      }),
    )
    createInterface(this.#process.stdout).on('line', (line) => {
      const answer = JSON.parse(line) as Answer
      if ('ready' in answer) isReady()
      else if ('cut' in answer) isOff(answer)
      else this.#onCounters?.(answer)
    })
  }

  say(line: string): void {
    this.#process.stdin.write(`${line}\n`)
  }

  counters(): Promise<DiskCounters> {
    return new Promise((resolve) => {
      this.#onCounters = resolve
      this.say('stat')
    })
  }

  /** Ends it. If it does not end by itself it is killed, and the kernel fails all requests that still wait for it. */
  async end(): Promise<void> {
    this.#process.stdin.end()
    const late = setTimeout(() => this.#process.kill('SIGKILL'), GONE_MS)
    await this.#exited
    clearTimeout(late)
  }
}

/** Loop devices over a file, by name. */
export function loopsOver(path: string): string[] {
  return readdirSync('/sys/block').filter((name) => {
    if (!name.startsWith('loop')) return false
    try {
      return readFileSync(`/sys/block/${name}/loop/backing_file`, 'utf8').trim() === path
    } catch {
      // Not in use.
      return false
    }
  })
}

export class Disk {
  readonly image: string
  /** The file system, while it is mounted. */
  readonly root: string
  readonly #fileSystem: FileSystem
  readonly #tools: Tools
  readonly #layerRoot: string
  #layer: Layer | undefined
  #mountedOver: string | undefined

  constructor(directory: string, fileSystem: FileSystem, tools: Tools) {
    this.#fileSystem = fileSystem
    this.#tools = tools
    this.image = join(directory, 'image')
    this.root = join(directory, 'root')
    this.#layerRoot = join(directory, 'layer')
    mkdirSync(this.root, { recursive: true })
    mkdirSync(this.#layerRoot, { recursive: true })
  }

  /** Makes an empty file system. */
  async format(): Promise<void> {
    rmSync(this.image, { force: true })
    writeFileSync(this.image, '')
    truncateSync(this.image, IMAGE_BYTES)
    if (this.#fileSystem === 'ext4') await run('mkfs.ext4', ['-q', '-F', this.image])
    else await run('mkfs.xfs', ['-q', '-f', this.image])
  }

  /** Where the layer shows the disk. */
  get raw(): string {
    return join(this.#layerRoot, 'disk')
  }

  /** Starts the layer; without a file system on it. */
  async plugIn(): Promise<void> {
    this.#layer = new Layer(this.#tools.disk, this.image, this.#layerRoot)
    await this.#layer.ready
  }

  /** Mounts the file system over the layer. */
  async powerOn(): Promise<void> {
    await this.plugIn()
    await this.#mount(this.raw)
  }

  /** Mounts the file system over the image itself. */
  async mountPlainly(): Promise<void> {
    await this.#mount(this.image)
  }

  async #mount(file: string): Promise<void> {
    try {
      // The loop device goes by itself when the file system does.
      await run('mount', ['-t', this.#fileSystem, '-o', 'loop', file, this.root])
      this.#mountedOver = file
    } catch (error) {
      throw new FileSystemFailure(`the file system could not be mounted: ${(error as Error).message}`)
    }
  }

  /** The power goes off at the `n`-th such event from now. */
  arm(seed: number, mode: CutMode, event: CutEvent, n = 1): void {
    this.#layer!.say(`cut ${seed} ${mode} ${event} ${n}`)
  }

  get off(): Promise<CutReport> {
    return this.#layer!.off
  }

  /** The power goes off now, if it has not gone already. */
  async cut(seed: number, mode: CutMode): Promise<CutReport> {
    this.arm(seed, mode, 'now')
    return this.#layer!.off
  }

  counters(): Promise<DiskCounters> {
    return this.#layer!.counters()
  }

  /** Name of the loop device that the file system is mounted from. */
  get loop(): string {
    return loopsOver(this.#mountedOver!)[0]!
  }

  /**
   * Unmounts and takes everything away. All processes that used the file system must have ended. Throws if
   * something is left, after having done what can be done about it.
   */
  async takeAway(): Promise<void> {
    const file = this.#mountedOver
    let left = ''
    try {
      if (file !== undefined) left = await this.#unmount(file)
    } finally {
      this.#mountedOver = undefined
      await this.#layer?.end()
      this.#layer = undefined
    }
    if (left !== '') throw new Error(left)
  }

  async #unmount(file: string): Promise<string> {
    const untilMs = monotonicMs() + GONE_MS
    for (;;) {
      const error = await run('umount', [this.root]).then(
        () => undefined,
        (e: Error) => e,
      )
      if (error === undefined) break
      if (monotonicMs() > untilMs) {
        await run('umount', ['-l', this.root]).catch(() => undefined)
        return `the file system stayed busy: ${error.message}`
      }
      await sleep(50)
    }
    while (loopsOver(file).length > 0) {
      if (monotonicMs() > untilMs) return `loop device ${loopsOver(file).join(', ')} is still there`
      await sleep(5)
    }
    return ''
  }

  /** What the file system's own checker finds in the image while it is not mounted; undefined: nothing. */
  async findDamage(): Promise<string | undefined> {
    const [program, args] =
      this.#fileSystem === 'ext4' ? (['e2fsck', ['-f', '-n']] as const) : (['xfs_repair', ['-n']] as const)
    return run(program, [...args, this.image], 60_000).then(
      () => undefined,
      (error: Error & { stdout?: string; stderr?: string }) =>
        `${program}: ${error.stderr ?? ''}${error.stdout ?? error.message}`,
    )
  }
}
