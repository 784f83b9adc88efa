// The processes of a soak, as their parent sees them.
import { fork, type ChildProcess } from 'node:child_process'
import { readFileSync } from 'node:fs'
import type { SpellReport, Order, Report, Spell } from './orders.js'
import type { Sample } from './resources.js'

const PROCESS = new URL('./process.js', import.meta.url).pathname
const MAX_OUTPUT_CHARS = 4000

export class Child {
  readonly name: string
  readonly #child: ChildProcess
  readonly #exited: Promise<void>
  #isGone = false
  #output = ''
  /** It may end: this program has killed it, or asked it to exit. */
  #mayGo = false
  failure: string | undefined
  #done: ((report: SpellReport) => void) | undefined
  #sampled: ((sample: Sample) => void) | undefined
  readonly #ready: Promise<void>

  constructor(name: string) {
    this.name = name
    this.#child = fork(PROCESS, { stdio: ['ignore', 'ignore', 'pipe', 'ipc'], serialization: 'advanced' })
    this.#child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      if (this.#output.length < MAX_OUTPUT_CHARS) this.#output += text
    })
    let nowReady = (): void => undefined
    this.#ready = new Promise((resolve) => (nowReady = resolve))
    this.#child.on('message', (report: Report) => {
      if ('ready' in report) nowReady()
      else if ('spellDone' in report) this.#done?.(report.spellDone)
      else if ('sample' in report) this.#sampled?.(report.sample)
      else this.failure ??= `${this.name}: ${report.failure}`
    })
    this.#exited = new Promise((resolve) =>
      this.#child.on('close', (code, signal) => {
        this.#isGone = true
        if (!this.#mayGo) this.failure ??= `${this.name} ended with ${signal ?? code}: ${this.#output}`
        nowReady()
        resolve()
      }),
    )
  }

  get isGone(): boolean {
    return this.#isGone
  }
  #send(order: Order): void {
    if (!this.#isGone && this.#child.connected) this.#child.send(order, () => undefined)
  }

  async start(spell: Spell): Promise<void> {
    await this.#ready
    this.#send({ do: 'spell', spell })
  }
  /** What it did; undefined if it died. */
  async endSpell(): Promise<SpellReport | undefined> {
    const done = new Promise<SpellReport>((resolve) => (this.#done = resolve))
    this.#send({ do: 'end spell' })
    return Promise.race([done, this.#exited.then(() => undefined)])
  }
  async sample(): Promise<Sample | undefined> {
    const sampled = new Promise<Sample>((resolve) => (this.#sampled = resolve))
    this.#send({ do: 'sample' })
    return Promise.race([sampled, this.#exited.then(() => undefined)])
  }
  async kill(): Promise<void> {
    this.#mayGo = true
    this.#child.kill('SIGKILL')
    await this.#exited
  }
  async leave(): Promise<void> {
    this.#mayGo = true
    this.#send({ do: 'exit' })
    await this.#exited
  }
  pause(): void {
    if (!this.#isGone) this.#child.kill('SIGSTOP')
  }
  goOn(): void {
    if (!this.#isGone) this.#child.kill('SIGCONT')
  }
  rssMiB(): number {
    try {
      const status = readFileSync(`/proc/${this.#child.pid}/status`, 'latin1')
      return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024
    } catch {
      // It has ended.
      return 0
    }
  }
}
