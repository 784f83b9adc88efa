// The process that runs inputs: it changes what it has, runs it, and keeps what reaches new code. If it dies, hangs or
// takes too much memory, the input that it was at is a finding (main.ts watches), like one that threw what it must not.
import { closeSync, ftruncateSync, openSync, writeSync } from 'node:fs'
import { Random } from '../lib/random.js'
import { Coverage } from './coverage.js'
import { mutate } from './mutate.js'
import { NAME_BYTES, type FuzzJob, type FuzzMessage } from './protocol.js'
import { TARGETS } from './targets.js'

const MAX_CORPUS = 2000
/** Cheap inputs share one look at the coverage. */
const LOOK_EVERY_MS = 15

async function work({ targets, seed, endMs, turnMs, currentPath }: FuzzJob): Promise<void> {
  const random = new Random(seed)
  const coverage = new Coverage()
  const current = openSync(currentPath, 'r+')
  const states = new Map(targets.map((name) => [name, { corpus: TARGETS[name]!.seeds(), executions: 0 }]))
  const errors = new Set<string>()
  let lastReportMs = 0
  const tell = (message: FuzzMessage): void => void process.send!(message)

  const run = async (name: string, input: Buffer): Promise<void> => {
    writeSync(current, Buffer.concat([Buffer.from(name.padEnd(NAME_BYTES)), input]), 0, NAME_BYTES + input.length, 0)
    ftruncateSync(current, NAME_BYTES + input.length)
    states.get(name)!.executions++
    try {
      await TARGETS[name]!.run(input)
    } catch (error) {
      const { stack = String(error) } = error as Error
      // One of each kind.
      const kind =
        stack
          .split('\n')
          .filter((line) => line.includes('    at '))
          .slice(0, 2)
          .join() + (error as Error).message.replace(/\d+/g, 'n').slice(0, 80)
      if (errors.has(kind)) return
      errors.add(kind)
      tell({ found: name, input: input.toString('base64'), error: stack })
    }
  }

  while (Date.now() < endMs) {
    for (const name of targets) {
      const state = states.get(name)!
      const { corpus } = state
      if (state.executions === 0) for (const input of corpus) await run(name, input)
      coverage.take()
      for (const until = Date.now() + turnMs; Date.now() < Math.min(until, endMs);) {
        const batch: Buffer[] = []
        for (const lookMs = Date.now() + LOOK_EVERY_MS; Date.now() < lookMs && batch.length < 500;) {
          const input = mutate(random, random.pick(corpus), random.pick(corpus))
          batch.push(input)
          await run(name, input)
        }
        if (coverage.take()) {
          // Some of them did something new: each again, to see which.
          const keep: Buffer[] = batch.length <= 4 ? batch : []
          if (batch.length > 4) {
            for (const input of batch) {
              await run(name, input)
              if (keep.length < 4 && random.chance(1 / 8)) keep.push(input)
            }
          }
          corpus.push(...keep)
          while (corpus.length > MAX_CORPUS) corpus.splice(random.between(0, corpus.length - 1), 1)
        }
        if (Date.now() - lastReportMs > 500) {
          lastReportMs = Date.now()
          tell({ alive: true })
        }
      }
      tell({
        report: Object.fromEntries(
          [...states].map(([key, { corpus: kept, executions }]) => [
            key,
            { executions, corpus: kept.length, blocks: coverage.size },
          ]),
        ),
      })
    }
  }
  closeSync(current)
  process.disconnect()
}

await work(JSON.parse(process.argv[2]!) as FuzzJob)
