// A file that a command writes. It is made beside its place and gets its name when it is whole and on disk, so that a
// command that fails leaves what was there.
import {
  closeSync,
  fsyncSync,
  openSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs'
import { dirname, resolve } from 'node:path'
import { InvalidError, NotFoundError } from '../../errors.js'

const PIECE_CHARACTERS = 256 * 1024

/** Writes these lines. Throws `InvalidError`, `NotFoundError`, and what the system says. */
export async function writeLines(path: string, lines: AsyncIterable<string>): Promise<void> {
  if (path === '') throw new InvalidError('The path of the file to be written is empty.')
  const target = linkedPath(path)
  const parent = dirname(target)
  if (kindOf(parent) !== 'directory')
    throw new NotFoundError(`${parent} is no directory, so no file can be made in it. Create it first.`)
  if (kindOf(target) === 'directory') throw new InvalidError(`${path} is a directory. Give the path of a file.`)
  if (kindOf(target) === 'other')
    throw new InvalidError(
      `${path} is a pipe or a device, and a file would take its place. Write to stdout, and let the shell lead that there.`,
    )
  const unfinished = `${target}.unfinished`
  // What a command that was killed has left; never what a link leads to.
  rmSync(unfinished, { force: true })
  const fd = openSync(unfinished, 'wx')
  let isDone = false
  try {
    await writeAll(fd, lines)
    fsyncSync(fd)
    renameSync(unfinished, target)
    isDone = true
    flushDirectory(parent)
  } finally {
    closeSync(fd)
    if (!isDone) rmSync(unfinished, { force: true })
  }
}

function kindOf(path: string): 'missing' | 'file' | 'directory' | 'other' {
  try {
    const stats = statSync(path, { throwIfNoEntry: false })
    if (stats === undefined) return 'missing'
    return stats.isFile() ? 'file' : stats.isDirectory() ? 'directory' : 'other'
  } catch {
    // A part of the path is a file, or may not be entered: writing there says so.
    return 'missing'
  }
}

/** Where the file lies or will lie, if the path is a symbolic link. */
function linkedPath(path: string): string {
  try {
    const link = readlinkSync(path)
    return kindOf(path) === 'missing' ? resolve(dirname(path), link) : realpathSync(path)
  } catch {
    return path
  }
}

async function writeAll(fd: number, lines: AsyncIterable<string>): Promise<void> {
  let text = ''
  for await (const line of lines) {
    text += `${line}\n`
    if (text.length < PIECE_CHARACTERS) continue
    writeText(fd, text)
    text = ''
  }
  writeText(fd, text)
}

function writeText(fd: number, text: string): void {
  const bytes = Buffer.from(text)
  for (let at = 0; at < bytes.length;) at += writeSync(fd, bytes, at)
}

function flushDirectory(path: string): void {
  const fd = openSync(path, 'r')
  try {
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}
