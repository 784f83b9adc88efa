// Peers: threads and processes beside the one that runs the test. Each runs a few lines that the test gives as a
// string, and the two talk: the test receives with `next()` what the peer sends with `say(value)`, and the peer
// receives with `await hear()` what the test sends with `tell(value)`. A peer ends when its lines have run; if they
// throw, it says so and ends with 70. The support of each suite puts in front of the lines what else they can use.

import { spawn } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { Worker } from 'node:worker_threads'

/** A thread or process that runs the lines it was given. */
export interface Peer {
  /** The next thing it says with `say(value)`. */
  next(): Promise<unknown>
  /** What `await hear()` returns there. */
  tell(value: unknown): void
  /** worker.terminate(), or SIGKILL. */
  kill(): Promise<void>
  /** Its exit code, or the signal that ended it. */
  readonly ended: Promise<number | string>
}

/** A process that can be stopped and continued, too. */
export interface ProcessPeer extends Peer {
  readonly pid: number
  /** Resolves once it stands still; rejects if it does not. */
  stopped(): Promise<void>
  goOn(): void
}

/** Messages in the order of their arrival, for the first caller that asks. The end of a peer answers all that wait. */
class Inbox {
  readonly #messages: unknown[] = []
  readonly #waiting: { resolve: (value: unknown) => void; reject: (error: Error) => void }[] = []
  #end: Error | undefined

  add(message: unknown): void {
    const first = this.#waiting.shift()
    if (first) first.resolve(message)
    else this.#messages.push(message)
  }

  end(reason: string): void {
    this.#end = new Error(reason)
    for (const { reject } of this.#waiting.splice(0)) reject(this.#end)
  }

  next(): Promise<unknown> {
    if (this.#messages.length > 0) return Promise.resolve(this.#messages.shift())
    if (this.#end) return Promise.reject(this.#end)
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }
}

/** The lines, with the code around them that lets them talk, given `port`, `say`, `hangUp` and `fail`. */
const talking = (lines: string): string => `
  const heard = [], hearers = []
  port.on('message', value => hearers.length ? hearers.shift()(value) : heard.push(value))
  const hear = () => heard.length ? heard.shift() : new Promise(resolve => hearers.push(resolve))
  ;(async () => {
    ${lines}
  })().then(hangUp, error => fail('failed: ' + error.stack))`

export function startThread(lines: string): Peer {
  const worker = new Worker(
    `const port = require('node:worker_threads').parentPort
     const say = value => port.postMessage(value)
     const hangUp = () => port.close()
     const fail = text => { say(text); process.exit(70) }
     ${talking(lines)}`,
    { eval: true },
  )
  const inbox = new Inbox()
  worker.on('message', (message) => inbox.add(message))
  worker.on('error', (error) => inbox.end(String(error)))
  const ended = new Promise<number>((resolve) => {
    worker.on('exit', (code) => {
      inbox.end(`thread ended with ${code}`)
      resolve(code)
    })
  })
  return {
    next: () => inbox.next(),
    tell: (value) => worker.postMessage(value),
    kill: async () => void (await worker.terminate()),
    ended,
  }
}

/** `environment` is added to this process's. */
export function startProcess(lines: string, environment: Record<string, string> = {}): ProcessPeer {
  const child = spawn(
    process.execPath,
    [
      '--input-type=module',
      '-e',
      `const port = process
       const say = value => port.send(value)
       const hangUp = () => port.disconnect()
       const fail = text => port.send(text, () => process.exit(70))
       ${talking(lines)}`,
    ],
    { stdio: ['ignore', 'inherit', 'inherit', 'ipc'], env: { ...process.env, ...environment } },
  )
  const inbox = new Inbox()
  child.on('message', (message) => inbox.add(message))
  const ended = new Promise<number | string>((resolve) => {
    child.on('exit', (code, signal) => {
      // Its last message may still be on its way.
      setTimeout(() => inbox.end(`process ended with ${signal ?? code}`), 50)
      resolve(signal ?? code ?? 0)
    })
  })
  return {
    next: () => inbox.next(),
    tell: (value) => void child.send(value as never),
    kill: async () => {
      child.kill('SIGKILL')
      await ended
    },
    ended,
    pid: child.pid!,
    stopped: async () => {
      for (const giveUpMs = performance.now() + 20_000; performance.now() < giveUpMs;) {
        const stat = readFileSync(`/proc/${child.pid}/stat`, 'latin1')
        if (stat[stat.lastIndexOf(')') + 2] === 'T') return
        await delay(5)
      }
      throw new Error('the process was not stopped')
    },
    goOn: () => void child.kill('SIGCONT'),
  }
}
