// The names by which users know the directories that this thread holds open and reaches through descriptors: messages
// name files as users know them.

const ROOT = /^\/proc\/self\/fd\/\d+/
const names = new Map<string, string>()

/** Makes messages use the name `path` for `root`, which is `/proc/self/fd/` and a number. */
export const setName = (root: string, path: string): void => void names.set(root, path)

/** `path` as a user knows it. */
export const nameOf = (path: string): string =>
  path.startsWith('/proc/') ? path.replace(ROOT, (root) => names.get(root) ?? root) : path
