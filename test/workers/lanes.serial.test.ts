// Lanes and the crew of threads that they share, with threads that do what the test says. If this failed, short work
// would wait for long work, or for ever, or take threads away from others for good.
import { setTimeout as delay } from 'node:timers/promises'
import { expect } from 'chai'
import { IoError, LockedError, OutcomeUnknownError } from '../../src/errors.js'
import { resolveOptions } from '../../src/engine/options.js'
import { ThreadPool, THREADS_OF_A_KIND } from '../../src/workers/thread-pool.js'
import { type Kind, Lane } from '../../src/workers/lane.js'
import { ThreadGoneError, type Outcome, type WorkerThread } from '../../src/workers/thread.js'

/** Its tasks last until they are finished by the test. */
class FakeThread {
  isGone = false
  idleSinceMs = 0
  readonly log: string[] = []
  readonly started = Promise.resolve()
  readonly gone: Promise<void>
  #end!: () => void
  #settle: { resolve: (outcome: Outcome<unknown>) => void; reject: (error: Error) => void } | undefined

  constructor() {
    this.gone = new Promise((resolve) => (this.#end = resolve))
  }
  get isBusy(): boolean {
    return this.#settle !== undefined
  }
  run(name: string, task: unknown): Promise<Outcome<unknown>> {
    expect(this.isBusy, `busy with ${this.log.at(-1)}`).to.equal(false)
    this.log.push(task === undefined ? name : `${name} ${String(task)}`)
    if (name === 'release') return Promise.resolve({ ok: undefined })
    return new Promise((resolve, reject) => (this.#settle = { resolve, reject }))
  }
  finish(result: unknown = undefined): void {
    const settle = this.#settle!
    this.#settle = undefined
    settle.resolve({ ok: result })
  }
  die(hasBegun: boolean): void {
    this.isGone = true
    this.#settle?.reject(new ThreadGoneError(hasBegun, 'shot'))
    this.#settle = undefined
    this.#end()
  }
  end(): Promise<void> {
    this.log.push('end')
    this.isGone = true
    this.#end()
    return this.gone
  }
  unref(): void {}
}

const tick = (): Promise<void> => new Promise(setImmediate)

describe('lanes of work', () => {
  let threads: FakeThread[]
  let refuse: Error | undefined
  let crew: ThreadPool
  const newCrew = (idleMs = 60_000): ThreadPool =>
    new ThreadPool(() => {
      if (refuse !== undefined) throw refuse
      const thread = new FakeThread()
      threads.push(thread)
      return thread as unknown as WorkerThread
    }, idleMs)
  const lane = (kind: Kind = 'long', limit = 2, timeoutMs = 30_000): Lane =>
    new Lane(crew, kind, limit, {
      options: resolveOptions('/db', { timeoutMs }),
      expected: undefined as never,
      order: undefined as never,
    })
  const busy = (): FakeThread[] => threads.filter((thread) => thread.isBusy)

  beforeEach(() => {
    threads = []
    refuse = undefined
    crew = newCrew()
  })

  it('start threads when there is work and no more than may run at a time, and use them again', async () => {
    const one = lane()
    expect(threads).to.have.length(0)
    const done = Array.from({ length: 5 }, (_, i) => one.run<number>('task', i))
    await tick()
    expect(threads).to.have.length(2)
    for (let left = 5; left > 0; left--) {
      busy()[0]!.finish(left)
      await tick()
    }
    expect((await Promise.all(done)).sort()).to.deep.equal([1, 2, 3, 4, 5])
    expect(threads).to.have.length(2)
    await one.close()
  })

  it('do not make one kind of work wait for another, nor what is urgent for anything', async () => {
    const [writes, long] = [lane('writes', 1), lane('long', 1)]
    for (let i = 0; i < 3; i++) void long.run('verify', i)
    await tick()
    void writes.run('commit', 0)
    void long.run('checkpoint', 0, [], true)
    await tick()
    expect(busy().map(({ log }) => log.at(-1))).to.deep.equal(['verify 0', 'commit 0', 'checkpoint 0'])
  })

  it('hand threads on from one database to the next, closed in between, and close only when that is done', async () => {
    const first = lane()
    const result = first.run('task', 1)
    await tick()
    busy()[0]!.finish('one')
    expect(await result).to.equal('one')
    await first.close()
    const second = lane()
    void second.run('task', 2)
    await tick()
    expect(threads.map(({ log }) => log)).to.deep.equal([['task 1', 'release', 'task 2']])
  })

  it('take idle threads from others when there are many databases, and else wait in turn', async () => {
    const lanes = Array.from({ length: THREADS_OF_A_KIND + 3 }, () => lane('writes', 1))
    const results = lanes.map((one, i) => one.run('commit', i))
    await tick()
    expect(busy()).to.have.length(THREADS_OF_A_KIND)
    for (let i = 0; i < lanes.length; i++) {
      busy()[0]!.finish()
      await tick()
    }
    await Promise.all(results)
    expect(threads).to.have.length(THREADS_OF_A_KIND)
    // Each has a thread that is idle now; one more database gets one of these.
    const late = lane('writes', 1).run('commit', 'late')
    await tick()
    expect(threads).to.have.length(THREADS_OF_A_KIND)
    busy()[0]!.finish('late')
    expect(await late).to.equal('late')
  })

  it('give up what has waited too long, and not what came later', async () => {
    const one = lane('long', 1, 400)
    void one.run('task', 'long')
    await tick()
    const early = one.run('task', 'early').catch((error: unknown) => error)
    await delay(250)
    const late = one.run<string>('task', 'late')
    expect(await early).to.be.instanceOf(LockedError)
    busy()[0]!.finish()
    await tick()
    busy()[0]!.finish('late')
    expect(await late).to.equal('late')
  })

  it('say what a thread that ends means for its task, and go on with others', async () => {
    const one = lane('writes', 1)
    const results = [0, 1, 2].map((i) => one.run('commit', i).catch((error: unknown) => error))
    await tick()
    busy()[0]!.die(true)
    await tick()
    busy()[0]!.die(false)
    await tick()
    busy()[0]!.finish('done')
    const [started, notStarted, done] = await Promise.all(results)
    expect(started).to.be.instanceOf(OutcomeUnknownError)
    expect(notStarted).to.be.instanceOf(IoError).with.property('message').that.includes('Nothing was written')
    expect(done).to.equal('done')
  })

  it('refuse work when no thread can be started, and do it as soon as one can', async () => {
    const one = lane()
    refuse = new Error('EAGAIN')
    const results = await Promise.all([1, 2, 3].map((i) => one.run('task', i).catch((error: unknown) => error)))
    for (const error of results)
      expect(error)
        .to.be.instanceOf(IoError)
        .with.property('message')
        .that.matches(/EAGAIN.*ulimit -u.*workers: 0/s)
    refuse = undefined
    const again = one.run('task', 4)
    await tick()
    busy()[0]!.finish(4)
    expect(await again).to.equal(4)
    // With one thread, work goes on although there can be no second.
    refuse = new Error('EAGAIN')
    const both = [one.run('task', 5), one.run('task', 6)]
    await tick()
    busy()[0]!.finish(5)
    await tick()
    busy()[0]!.finish(6)
    expect(await Promise.all(both)).to.deep.equal([5, 6])
  })

  it('let threads end that have nothing to do for a while', async () => {
    crew = newCrew(50)
    const [one, two] = [lane(), lane()]
    for (const it of [one, two]) {
      const result = it.run('task')
      await tick()
      busy()[0]!.finish()
      await result
    }
    await two.close()
    expect(threads).to.have.length(2)
    while (!threads.every((thread) => thread.log.includes('end'))) await delay(10)
    void one.run('task')
    await tick()
    expect(busy()).to.deep.equal([threads[2]])
  })
})
