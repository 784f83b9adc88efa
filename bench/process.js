// One process of the case `processes`.
import { memory } from './meter.js'
import { runThreads } from './threads.js'

const parameters = JSON.parse(process.argv[2])
const begin = () => {
  process.send('ready')
  return new Promise((resolve) => process.once('message', resolve))
}
const result = await runThreads({ ...parameters, begin })
process.send({ ...result, peakMiB: memory('VmHWM') }, () => process.exit(0))
