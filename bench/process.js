// One process of the case `processes`.
import { runThreads } from './threads.js'

const parameters = JSON.parse(process.argv[2])
const begin = () => {
  process.send('ready')
  return new Promise((resolve) => process.once('message', resolve))
}
process.send(await runThreads({ ...parameters, begin }), () => process.exit(0))
