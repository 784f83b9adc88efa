// One process of the case `processes`.
import { runWriters } from './cases/writers.js'

const parameters = JSON.parse(process.argv[2])
process.send(await runWriters({ threads: 2, ...parameters }))
process.disconnect()
