// The process that carries out one step of a row (environment.ts): it loads all that it needs, becomes the user, and
// runs the lines. It sends their outcome back to the test.
import * as fs from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { MmapdbError, open as openDatabase, type OpenOptions } from '../../src/index.js'
import type { Instruction } from './environment.js'
import { compiledUrl } from '../../src/package-root.js'

const { user, umask, directory, place, path, options, does } = JSON.parse(process.env['MMAPDB_STEP']!) as Instruction

let over = false
process.once('message', () => (over = true))
process.channel?.unref()

const answer = (gives: unknown): void => void process.send!({ gives: gives ?? null })

process.chdir(directory)
if (user !== undefined) {
  process.setgroups!([...(user.groups ?? [])])
  process.setgid!(user.gid)
  process.setuid!(user.uid)
}
if (umask !== undefined) process.umask(umask)

const tools = {
  entry: compiledUrl('src/index.js'),
  path,
  place,
  fs,
  sleep,
  open: (more: OpenOptions = {}, at = path) => openDatabase(at, { ...options, ...more }),
  ready: () => void process.send!({ ready: true }),
  isOver: () => over,
}
const run = new Function(...Object.keys(tools), `return (async () => { ${does} })()`) as (
  ...tools: unknown[]
) => Promise<unknown>
try {
  answer(await run(...Object.values(tools)))
} catch (error) {
  if (!(error instanceof MmapdbError)) console.error(error)
  answer((error as { code?: string }).code ?? String(error))
}
