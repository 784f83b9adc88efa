// Where the package lies, worked out from where this file is compiled to. No other file counts folders.
import { fileURLToPath } from 'node:url'

const COMPILED = new URL('../', import.meta.url)
const ROOT = new URL('../', COMPILED)

/** The path of a file of the package, given relative to its root. */
export const inPackage = (path: string): string => fileURLToPath(new URL(path, ROOT))

/** The URL of a compiled module, given relative to the folder of all compiled files; as `import()` takes it. */
export const compiledUrl = (path: string): string => new URL(path, COMPILED).href

/** The same as a path, as `fork` takes it. */
export const compiledFile = (path: string): string => fileURLToPath(new URL(path, COMPILED))

/** The command line. */
export const BIN = inPackage('bin/mmapdb')
