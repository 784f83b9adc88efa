// What the figures were measured on and with. Names no host.
import { readFileSync } from 'node:fs'
import { cpus, release, totalmem } from 'node:os'

export function machine(directory) {
  const version = (name) => {
    try {
      return JSON.parse(readFileSync(new URL(`node_modules/${name}/package.json`, import.meta.url), 'utf8')).version
    } catch {
      return 'not installed'
    }
  }
  const own = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')).version
  return [
    `${cpus()[0].model} x ${cpus().length}, ${Math.round(totalmem() / 2 ** 30)} GiB, Linux ${release().replace(/-.*/, '')}, ${fileSystem(directory)}, Node.js ${process.version}`,
    `mmapdb ${own}, lmdb ${version('lmdb')}, better-sqlite3 ${version('better-sqlite3')}, classic-level ${version('classic-level')}`,
  ].join('\n')
}

/** The kernel's name for the file system that holds `directory`: that of the longest mount point above it. */
export function fileSystem(directory) {
  let best = ['', 'unknown file system']
  for (const line of readFileSync('/proc/self/mounts', 'utf8').split('\n')) {
    const [, at, type] = line.split(' ')
    const above = at !== undefined && (directory === at || directory.startsWith(at === '/' ? at : `${at}/`))
    if (above && at.length >= best[0].length) best = [at, type]
  }
  return best[1]
}
