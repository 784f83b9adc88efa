// A session store whose expired sessions are found by the order of keys.
//
// Each session has two entries: the session itself, and one whose key begins with the time at which it expires.
// Both are written in one batch, so neither is ever there without the other. Keys that are arrays are ordered
// element by element, so everything that has expired is one range, and a sweep reads nothing else. What was read is
// a condition of the write: so any number of processes may save and sweep.
import assert from 'node:assert/strict'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'mmapdb'

const path = mkdtempSync(join(tmpdir(), 'mmapdb-sessions-'))
const db = await open(path)

/** Stores a session, new or changed, that expires at `expiresMs`. */
async function save(id, data, expiresMs) {
  for (;;) {
    const before = db.getEntry(['session', id])
    const took = await db.batch([
      ...(before ? [{ type: 'del', key: ['expiry', before.value.expiresMs, id] }] : []),
      { type: 'put', key: ['session', id], value: { data, expiresMs }, ifVersion: before?.version ?? 0 },
      { type: 'put', key: ['expiry', expiresMs, id], value: true },
    ])
    if (took) return
    // Another process has changed it meanwhile: read it again.
  }
}

/** A session that has expired does not count, whether it has been swept or not. */
function load(id, nowMs) {
  const session = db.get(['session', id])
  return session && session.expiresMs > nowMs ? session.data : undefined
}

/** Removes what has expired, at most 1,000 sessions in one batch. Returns how many. */
async function sweep(nowMs) {
  const expired = [...db.keys({ gt: ['expiry'], lt: ['expiry', nowMs + 1], limit: 1000 })]
  const sessions = expired.map(([, , id]) => ['session', id]).filter((key) => db.get(key)?.expiresMs <= nowMs)
  await db.batch([...expired, ...sessions].map((key) => ({ type: 'del', key })))
  return sessions.length
}

const startMs = 1_000_000
const ids = Array.from({ length: 500 }, () => randomUUID())
await Promise.all(ids.map((id, i) => save(id, { user: i }, startMs + 60 * i)))
await save(ids[0], { user: 0, seen: 'again' }, startMs + 100_000) // used again: it expires later

const nowMs = startMs + 60 * 99
assert.equal(load(ids[1], nowMs), undefined)
assert.equal(await sweep(nowMs), 99) // sessions 1 to 99: session 0 has been used again
assert.equal(await sweep(nowMs), 0)
assert.deepEqual(load(ids[0], nowMs), { user: 0, seen: 'again' })
assert.deepEqual(load(ids[100], nowMs), { user: 100 })
assert.equal(db.count({ prefix: ['session'] }), 401)
assert.equal(db.count({ prefix: ['expiry'] }), 401)

console.log('99 of 500 sessions expired and were swept; 401 are left')
await db.close()
rmSync(path, { recursive: true })
