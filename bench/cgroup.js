// A memory limit for processes, page cache included: a cgroup of their own. Needs root (or a delegated
// hierarchy) and the memory controller, version 1 or 2.
//   version 1: a child of the cgroup that this process is in.
//   version 2: a child of the nearest one above it that hands the memory controller down, since one that
//              holds processes may not.
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'

/** Returns { script, peakBytes(), remove() }: `script` is what a shell runs to step inside. */
export function limitedMemory(bytes) {
  const mounts = readFileSync('/proc/self/mounts', 'utf8')
    .split('\n')
    .map((line) => line.split(' '))
  const own = readFileSync('/proc/self/cgroup', 'utf8')
    .split('\n')
    .map((line) => line.split(':'))
  const first = mounts.find(([, , type, options]) => type === 'cgroup' && options.split(',').includes('memory'))
  const name = `mmapdb-bench-${process.pid}`
  try {
    if (first !== undefined) {
      const path = own.find(([, controllers]) => controllers.split(',').includes('memory'))?.[2] ?? '/'
      const directory = join(first[1], existsSync(join(first[1], path)) ? path : '/', name)
      mkdirSync(directory)
      writeFileSync(join(directory, 'memory.limit_in_bytes'), String(bytes))
      return cgroup(directory, 'memory.max_usage_in_bytes')
    }
    const second = mounts.find(([, , type]) => type === 'cgroup2')
    if (second === undefined) throw new Error('no cgroup file system is mounted')
    let above = join(second[1], own.find(([hierarchy]) => hierarchy === '0')?.[2] ?? '/')
    const handsDown = (path) =>
      existsSync(path) && readFileSync(join(path, 'cgroup.subtree_control'), 'utf8').split(/\s/).includes('memory')
    while (!handsDown(above)) {
      if (above === second[1] || above === dirname(above))
        throw new Error('no cgroup hands the memory controller down (cgroup.subtree_control)')
      above = dirname(above)
    }
    const directory = join(above, name)
    mkdirSync(directory)
    writeFileSync(join(directory, 'memory.max'), String(bytes))
    if (existsSync(join(directory, 'memory.swap.max'))) writeFileSync(join(directory, 'memory.swap.max'), '0')
    return cgroup(directory, 'memory.peak')
  } catch (error) {
    throw new Error(`a memory limit needs root and the memory controller of cgroup version 1 or 2: ${error.message}`, {
      cause: error,
    })
  }
}

function cgroup(directory, peak) {
  return {
    script: `echo $$ > ${join(directory, 'cgroup.procs')}`,
    peakBytes: () =>
      existsSync(join(directory, peak)) ? Number(readFileSync(join(directory, peak), 'utf8')) : Number.NaN,
    remove: () => rmdirSync(directory),
  }
}
