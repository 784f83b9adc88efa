// What the recipes share: processes that are killed in the middle of their work and started again, and the time that
// this goes on for. A program of your own needs none of it.
//
// A recipe is one file. Started by its user it is the program that checks: it starts a crew, which is the same file
// with the name of a role and the path of the database.
import { fork } from 'node:child_process'
import { once } from 'node:events'
import { setTimeout as pause } from 'node:timers/promises'
import { parseArgs } from 'node:util'

const { values, positionals } = parseArgs({
  options: { seconds: { type: 'string', default: '4' } },
  allowPositionals: true,
})

/** `--seconds N`: how long the crew works. */
export const seconds = Number(values.seconds)
if (!(seconds > 0)) throw new Error(`--seconds takes a number above 0, not ${values.seconds}.`)

/** In a process of a crew: its role, and the path of the database. Both are undefined in the program that checks. */
export const [role, path] = positionals

const stop = new AbortController()
if (role !== undefined) {
  process.once('SIGTERM', () => {
    process.channel?.unref() // it does not keep the process alive any more
    stop.abort()
  })
  process.once('disconnect', () => stop.abort()) // the program that checks is gone
}
/** In a process of a crew: aborted when it is to finish what it is doing, close the database and end. */
export const stopping = stop.signal

/** True of what a call rejects with that `stopping` has ended. */
export const isStop = (error) => error === stopping.reason

/** Starts this program once more, in a role. It is to send a message as soon as it is at work. */
export const start = (role, path) => fork(process.argv[1], [role, path])

/** Processes that work at the same time. One that ends by itself is a fault, and ends the program. */
export class Crew {
  kills = 0
  #starts
  #children
  #isEnding = false

  /** `starts`: for each process a function that starts it. Resolves when all of them are at work. */
  static async of(starts) {
    const crew = new Crew()
    crew.#starts = starts
    crew.#children = starts.map(() => undefined)
    await Promise.all(starts.map((_, place) => crew.#begin(place)))
    return crew
  }

  async #begin(place) {
    const child = this.#starts[place]()
    this.#children[place] = child
    child.once('exit', (code, signal) => {
      if (!this.#isEnding && signal !== 'SIGKILL') throw new Error(`A process has ended by itself: ${signal ?? code}.`)
    })
    await once(child, 'message')
  }

  /** For so long kills one after the other, at random, and starts it again. */
  async killFor(seconds) {
    for (const endMs = performance.now() + 1000 * seconds; performance.now() < endMs; this.kills++) {
      await pause(300 * Math.random())
      const place = Math.floor(this.#children.length * Math.random())
      const gone = once(this.#children[place], 'exit')
      this.#children[place].kill('SIGKILL')
      await gone
      await this.#begin(place)
    }
  }

  /** Lets all of them finish what they are doing. */
  async end() {
    this.#isEnding = true
    const exits = this.#children.map((child) => once(child, 'exit'))
    for (const child of this.#children) child.kill('SIGTERM')
    for (const [code, signal] of await Promise.all(exits))
      if (code !== 0) throw new Error(`A process that was to finish has ended with ${signal ?? code}.`)
  }
}
