// What users call the directories that this thread holds open and reaches through their descriptors: messages
// name files as users know them.

const ROOT = /^\/proc\/self\/fd\/\d+/
const names = new Map<string, string>()

/** Says that messages call `root`, `/proc/self/fd/` and a number, by the name `path`. */
export const setName = (root: string, path: string): void => void names.set(root, path)

/** `path` as a user knows it. */
export const nameOf = (path: string): string =>
  path.startsWith('/proc/') ? path.replace(ROOT, (root) => names.get(root) ?? root) : path
