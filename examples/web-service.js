// An HTTP service in several processes that share a port and a database: sessions that expire, rate limits, and a
// count of hits that is exact.
//
// No request reads something and then writes what follows from it, so no two requests can be in each other's way:
//
// - A session is an entry that expires.
// - A rate limit is a counter that expires: `add` gives each caller its own sum, so of the requests of a while,
//   to whatever process, no more than the limit find a sum within it. The first one gives the counter its time.
// - A hit is an `add`. The answer is sent once it is on disk, so what a client was told is never lost. If the process is
//   killed before it has answered, the client does not know whether its request counts: nobody else is in doubt.
//
// The program below is the client, kills one process after the other, and compares what it was told with the database.
//
//     node examples/web-service.js --seconds 600
import assert from 'node:assert/strict'
import cluster from 'node:cluster'
import { randomUUID } from 'node:crypto'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { open } from 'mmapdb'
import { Crew, path, role, seconds, stopping } from './support/crew.js'

const SESSION_MS = 1500
const LIMIT = 5
const LIMIT_MS = 500

// ---- the service ---------------------------------------------------------------------------------

async function logIn(db, user) {
  const id = randomUUID()
  await db.put(['session', id], { user }, { ttlMs: SESSION_MS })
  return { status: 200, session: id }
}

async function visit(db, session, page) {
  const { user } = db.get(['session', session]) ?? {}
  if (user === undefined) return { status: 401 }
  if ((await db.add(['requests', user], 1, { ttlMs: LIMIT_MS })) > LIMIT) return { status: 429 }
  return { status: 200, hits: await db.add(['hits', page], 1) }
}

async function serve(path) {
  const db = await open(path)
  const server = createServer(async (request, response) => {
    const [, what, name] = request.url.split('/')
    const answer = what === 'login' ? logIn(db, name) : visit(db, request.headers.authorization, name)
    const { status, ...body } = await answer.catch((error) => ({ status: 500, error: error.message }))
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  })
  server.listen(0, () => process.send({ port: server.address().port })) // in a cluster all get the same port
  stopping.onabort = () => server.close(() => db.close())
}

// ---- the client ----------------------------------------------------------------------------------

/** An answer, or undefined if it is not known whether the request was dealt with. */
async function ask(url, session) {
  const sentMs = performance.now()
  try {
    const headers = session === undefined ? {} : { authorization: session }
    const response = await fetch(url, { headers, signal: AbortSignal.timeout(2000) })
    return { status: response.status, ...(await response.json()), sentMs, gotMs: performance.now() }
  } catch {
    return undefined
  }
}

/** What clients were told of. */
class Tally {
  /** For each page: the counts that they were told, and how many requests got no answer. */
  pages = Array.from({ length: 5 }, () => ({ told: new Set(), unknown: 0 }))
  /** For each user: how many requests were within the limit. */
  admitted = [0, 0, 0]
  refused = 0
  expired = 0

  /** A client of one of the users, until the time is over. */
  async browse(service, user, endMs) {
    let login
    while (performance.now() < endMs) {
      login ??= await ask(`${service}/login/${user}`)
      if (login === undefined) continue
      const page = Math.floor(5 * Math.random())
      const answer = await ask(`${service}/page/${page}`, login.session)
      this.#note(page, user, login, answer)
      if (answer?.status === 401) login = undefined
    }
  }

  #note(page, user, login, answer) {
    const { told } = this.pages[page]
    if (answer === undefined) this.pages[page].unknown++
    else if (answer.status === 401) {
      assert.ok(answer.gotMs - login.sentMs > SESSION_MS - 10, 'a session ended too early')
      this.expired++
    } else {
      assert.ok(answer.sentMs - login.gotMs < SESSION_MS + 10, 'a session did not end')
      if (answer.status === 429) this.refused++
      else {
        assert.equal(answer.status, 200, answer.error)
        assert.ok(!told.has(answer.hits), 'two requests were counted as one')
        told.add(answer.hits)
        this.admitted[user]++
      }
    }
  }
}

async function main() {
  const path = mkdtempSync(join(tmpdir(), 'mmapdb-web-service-'))
  const db = await open(path)
  cluster.setupPrimary({ args: ['serve', path] })
  cluster.schedulingPolicy = cluster.SCHED_NONE // no connection is on its way to a process that is killed
  let port
  const startOne = () => cluster.fork().process.on('message', (message) => (port = message.port))
  const crew = await Crew.of([startOne, startOne, startOne])

  const beganMs = performance.now()
  const tally = new Tally()
  const clients = Array.from({ length: 15 }, (_, i) =>
    tally.browse(`http://localhost:${port}`, i % 3, beganMs + 1000 * seconds),
  )
  await Promise.all([crew.killFor(seconds), ...clients])
  const tookMs = performance.now() - beganMs
  await crew.end()

  let hits = 0
  let unknown = 0
  for (const [page, { told, unknown: more }] of tally.pages.entries()) {
    const counted = db.get(['hits', String(page)]) ?? 0
    assert.ok(told.size <= counted && counted <= told.size + more, `page ${page}: ${counted} hits, ${told.size} told`)
    assert.ok(Math.max(0, ...told) <= counted)
    hits += counted
    unknown += more
  }
  // The time of a limit begins with its first request, so in all there is room for this many.
  const most = LIMIT * Math.ceil(tookMs / LIMIT_MS)
  for (const admitted of tally.admitted) assert.ok(admitted <= most, `${admitted} were within the limit of ${most}`)
  assert.ok(tally.refused > 0, 'the limit was never reached')
  assert.ok(tally.expired > 0, 'no session expired')
  console.log(
    `${hits} hits, of which clients do not know ${unknown} or less; ${crew.kills} processes were killed; ` +
      `${tally.refused} requests were over the limit, and ${tally.expired} sessions expired`,
  )
  await db.close()
  rmSync(path, { recursive: true })
}

await (role === undefined ? main() : serve(path))
