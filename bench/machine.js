// What the figures were measured on and with. Names no host.
import { existsSync, readFileSync } from 'node:fs'
import { cpus, loadavg, release, totalmem } from 'node:os'

/** `directory`: where the databases are. */
export function machine(directory) {
  return {
    processor: `${cpus()[0].model.trim()} x ${cpus().length}`,
    memory: `${Math.round(totalmem() / 2 ** 30)} GiB`,
    kernel: `Linux ${release().replace(/-.*/, '')}`,
    fileSystem: fileSystem(directory),
    node: process.version,
    versions: {
      mmapdb: versionIn(new URL('../package.json', import.meta.url)),
      ...Object.fromEntries(
        ['lmdb', 'better-sqlite3', 'classic-level', '@nxtedition/rocksdb'].map((name) => [name, packageVersion(name)]),
      ),
      'node:sqlite': process.versions.sqlite ?? 'not in this Node.js',
    },
  }
}

/** How many processes wanted to run in the last minute: what else the machine had to do, before a run has begun. */
export const load = () => Math.round(loadavg()[0] * 10) / 10

export const machineText = ({ processor, memory, kernel, fileSystem, node, versions }) =>
  `${processor}, ${memory}, ${kernel}, ${fileSystem}, Node.js ${node}; ${Object.entries(versions)
    .map(([name, version]) => `${name} ${version}`)
    .join(', ')}`

function packageVersion(name) {
  const url = new URL(`node_modules/${name}/package.json`, import.meta.url)
  return existsSync(url) ? versionIn(url) : 'not installed'
}

const versionIn = (url) => JSON.parse(readFileSync(url, 'utf8')).version

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
