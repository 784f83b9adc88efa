// The command line's load, from the start of its process to the end: 10,000 durable records by eight workers, each read
// back.
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

export const title = ({ ops }) => `mmapdb load --ops ${ops} --workers 8`
export const group = 'batches'
export const unit = 'ms'
export const per = 'load'
export const stores = ['mmapdb']
export const database = 'none'
export const isCold = true
export const variants = { quick: [{ ops: 10_000 }], full: [{ ops: 10_000 }] }

export function measure({ directory, ops }) {
  const bin = fileURLToPath(new URL('../../bin/mmapdb', import.meta.url))
  const start = performance.now()
  execFileSync(process.execPath, [bin, 'load', '--ops', ops, '--workers', '8', '--db', directory, '--quiet'], {
    stdio: 'pipe',
  })
  const figure = performance.now() - start
  const { userCPUTime, systemCPUTime } = childUsage()
  return { figure, cpuUs: userCPUTime + systemCPUTime }
}

/** Processor time of the children that have ended, in microseconds: fields 16 and 17 of /proc/self/stat. */
function childUsage() {
  const fields = readFileSync('/proc/self/stat', 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  const tickUs = 10_000
  return { userCPUTime: Number(fields[13]) * tickUs, systemCPUTime: Number(fields[14]) * tickUs }
}
