// Runs one command line after another in one process: src/cli/main.ts is loaded again for each, its imports only
// once. That is the same program without the start of Node.js, which takes most of the time of a short command.
import { BIN, compiledUrl } from '../../src/package-root.js'

export interface Question {
  readonly args: readonly string[]
}

export interface Answer {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const MAIN = compiledUrl('src/cli/main.js')

/** Everything that is written to `stream` from now on. */
function taken(stream: NodeJS.WriteStream): () => string {
  const parts: Uint8Array[] = []
  stream.write = (part: string | Uint8Array, done?: unknown): boolean => {
    parts.push(Buffer.from(part as string))
    if (typeof done === 'function') queueMicrotask(() => (done as () => void)())
    return true
  }
  return () => Buffer.concat(parts).toString()
}

let runs = 0

async function run({ args }: Question): Promise<Answer> {
  const [stdout, stderr] = [taken(process.stdout), taken(process.stderr)]
  process.argv = [process.execPath, BIN, ...args]
  process.exitCode = 0
  await import(`${MAIN}?run=${runs++}`)
  const code = Number(process.exitCode)
  process.exitCode = 0
  return { code, stdout: stdout(), stderr: stderr() }
}

process.on('message', (question: Question) => {
  void run(question).then((answer) => process.send!(answer))
})
