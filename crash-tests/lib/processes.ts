// Processes that are started to be killed.
import { spawn, type ChildProcess } from 'node:child_process'
import { readdirSync, readFileSync } from 'node:fs'
import { monotonicMs } from './journal.js'
import type { Message, ProcessSpec } from './writer.js'

/** What is set in the environment of a process that is to be hit at a named point. */
export type Armed =
  { readonly MMAPDB_CRASH_AT: string } | { readonly MMAPDB_STOP_AT: string } | Readonly<Record<string, never>>

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

const WRITER = new URL('./writer.js', import.meta.url).pathname
const MAX_OUTPUT_CHARS = 4000

export class Child {
  readonly #child: ChildProcess
  readonly exited: Promise<void>
  /** Milliseconds of the monotonic clock at which it was certainly dead; Infinity while it lives. */
  deadMs = Infinity
  /** When all its writers had the database open (in a pool: had written). */
  readyMs = Infinity
  code: number | null = null
  signal: NodeJS.Signals | null = null
  errorOutput = ''
  /** When the first of that was read; Infinity if nothing was. */
  errorAtMs = Infinity
  /** True if this program sent it a SIGKILL. */
  killed = false
  /** It writes, or is dead. */
  readonly ready: Promise<void>
  /** Threads of it that were terminated, and when. */
  readonly terminated: { index: number; atMs: number }[] = []

  constructor(script: string, args: string[], environment: Readonly<Record<string, string>>) {
    const env = { ...process.env, ...environment }
    this.#child = spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], env })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      if (this.errorOutput === '') this.errorAtMs = monotonicMs()
      if (this.errorOutput.length < MAX_OUTPUT_CHARS) this.errorOutput += text
    })
    let nowReady = (): void => undefined
    this.ready = new Promise((resolve) => (nowReady = resolve))
    this.#child.on('message', (message: Message) => {
      if ('ready' in message) {
        this.readyMs = monotonicMs()
        nowReady()
      } else this.terminated.push({ index: message.terminated, atMs: message.atMs })
    })
    // `close` comes when all output has been read; it is dead at `exit`.
    this.#child.on('exit', () => (this.deadMs = monotonicMs()))
    this.exited = new Promise((resolve) =>
      this.#child.on('close', (code, signal) => {
        this.code = code
        this.signal = signal
        nowReady()
        resolve()
      }),
    )
  }

  static writing(spec: ProcessSpec, environment: Readonly<Record<string, string>> = {}): Child {
    return new Child(WRITER, [JSON.stringify(spec)], environment)
  }

  get isAlive(): boolean {
    return this.deadMs === Infinity
  }
  get pid(): number {
    return this.#child.pid!
  }

  kill(): void {
    if (!this.isAlive) return
    this.killed = true
    this.#child.kill('SIGKILL')
  }
  pause(): void {
    this.#child.kill('SIGSTOP')
  }
  goOn(): void {
    this.#child.kill('SIGCONT')
  }
  /** True while it is stopped by SIGSTOP. */
  get isStopped(): boolean {
    try {
      const stat = readFileSync(`/proc/${this.pid}/stat`, 'latin1')
      return stat[stat.lastIndexOf(')') + 2] === 'T'
    } catch {
      // It has ended.
      return false
    }
  }
  /** What each of its threads waits for: shows why it does not end. */
  threadStates(): string {
    const read = (name: string): string => {
      try {
        return readFileSync(`/proc/${this.pid}/${name}`, 'latin1').trim()
      } catch (error) {
        return (error as Error).message
      }
    }
    const threads = this.isAlive ? readdirSync(`/proc/${this.pid}/task`) : []
    return [
      `process ${this.pid}`,
      ...threads.map(
        (id) =>
          `    ${read(`task/${id}/comm`)} ${/State:.*/.exec(read(`task/${id}/status`))?.[0]} ${read(`task/${id}/wchan`)} ${read(`task/${id}/syscall`)}`,
      ),
      this.errorOutput,
    ].join('\n')
  }
  /** Lets it go on whenever it is stopped again. */
  async keepGoing(stoppedMs: number): Promise<void> {
    while (this.isAlive) {
      await sleep(5)
      if (!this.isStopped) continue
      await sleep(stoppedMs)
      this.goOn()
    }
  }
  /** Asks it to finish the operation at hand and close the database. */
  stop(): void {
    if (this.isAlive && this.#child.connected) this.#child.send({ stop: true }, () => undefined)
  }

  /** Waits for its end; false if that takes longer. */
  within(ms: number): Promise<boolean> {
    return inTime(this.exited, ms)
  }
  readyWithin(ms: number): Promise<boolean> {
    return inTime(this.ready, ms)
  }
}

async function inTime(what: Promise<void>, ms: number): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<boolean>((resolve) => (timer = setTimeout(() => resolve(false), ms)))
  const done = await Promise.race([what.then(() => true), late])
  clearTimeout(timer)
  return done
}
