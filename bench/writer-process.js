// One process of the case `processes`.
import { runWriters } from './cases/writers.js'

const parameters = JSON.parse(process.argv[2])
const go = new Promise((resolve) => process.once('message', resolve))
const ready = () => {
  process.send('ready')
  return go
}
process.send(await runWriters({ threads: 2, ready, ...parameters }))
process.disconnect()
