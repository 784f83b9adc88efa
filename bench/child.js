// Does one thing in a process of its own, so that no store finds the compiler, the heap or the page cache of the
// process as another one left them: measures a case, or loads a database.
import { writeSync } from 'node:fs'
import { chunksOf } from './data.js'
import { memory } from './meter.js'
import { openStore } from './stores/index.js'

const { name, ...parameters } = JSON.parse(process.argv[2])

async function load({ store, directory, ...of }) {
  const db = await openStore(store, directory, of)
  for (const chunk of chunksOf({ ...of, order: 'random' })) await db.batch?.(chunk)
  await db.close()
  return {}
}

async function measure() {
  // Only this case's file: what the others import would count where the start of a process does.
  const { measure: of } = await import(`./cases/${name}.js`)
  const result = await of(parameters)
  // A case of several processes has summed theirs.
  return { peakMiB: memory('VmHWM'), ...result }
}

try {
  const result = name === 'prepare' ? await load(parameters) : await measure()
  writeSync(1, `\nRESULT ${JSON.stringify(result)}\n`)
} catch (error) {
  writeSync(
    1,
    `\nRESULT ${JSON.stringify({ [error.name === 'Unavailable' ? 'unavailable' : 'error']: error.message })}\n`,
  )
  if (error.name !== 'Unavailable') console.error(error)
}
process.exit()
