// Runs one measurement of one store in a process of its own, so that no store finds the compiler, the
// heap or the page cache of the process as another one left them.
import { cases } from './cases/index.js'

const { name, ...parameters } = JSON.parse(process.argv[2])
const result = await cases[name].measure(parameters)
process.stdout.write(`\nRESULT ${JSON.stringify(result)}\n`)
process.exit(0)
