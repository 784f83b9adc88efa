// Installs the other stores, if they are not there: `npm run bench` needs no other step.
import { spawnSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { delimiter, dirname } from 'node:path'
import { fileURLToPath } from 'node:url'

const HERE = fileURLToPath(new URL('.', import.meta.url))
/** The last better-sqlite3 that runs on older versions of Node.js; it is compiled where it is installed. */
const OLDER = Number(process.versions.node.split('.')[0]) < 22
const SQLITE = OLDER ? '12' : '13'

/** `stores`: what is asked for. Whatever cannot be installed is said, and left out by the run. */
export function install(stores) {
  if (!existsSync(`${HERE}node_modules`)) npm('the other stores', ['ci'])
  if (!stores.includes('sqlite') || sqliteMajor() === SQLITE) return
  npm(`better-sqlite3 ${SQLITE}${OLDER ? ', which is compiled: some minutes' : ''}`, [
    'install',
    '--no-save',
    `better-sqlite3@${SQLITE}`,
  ])
}

function npm(what, args) {
  console.log(`Installing ${what} into bench/node_modules (npm ${args.join(' ')}) ...`)
  const { status } = spawnSync('npm', [...args, '--no-audit', '--no-fund', '--loglevel', 'error'], {
    cwd: HERE,
    // npm leaves out what its own version of Node.js does not run: it must be this one.
    env: { ...process.env, PATH: `${dirname(process.execPath)}${delimiter}${process.env.PATH}` },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  if (status !== 0) console.log(`npm ${args.join(' ')} failed: stores that are missing are left out.`)
}

function sqliteMajor() {
  const file = `${HERE}node_modules/better-sqlite3/package.json`
  return existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')).version.split('.')[0] : undefined
}
