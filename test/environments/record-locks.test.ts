// Record locks and users: a user who may not write to a database cannot lock its records, and the file of the locks
// belongs to the owner of the database. `npm run test:environments` runs it as root.
import { describeRows, OTHER, OWNER, ROOT, type Step } from '../support/environment.js'

const PUT: Step = {
  as: OWNER,
  does: `const db = await open(); await db.put('key', 'value'); await db.close(); return 'put'`,
  gives: 'put',
}

const holds = (as: Step['as']): Step => ({
  as: as!,
  goesOn: true,
  does: `const db = await open(); const lock = await db.lock('key'); ready()
         while (!isOver()) await sleep(5)
         lock.release(); await db.close(); return 'held it'`,
  gives: 'held it',
})

describeRows('users: record locks', [
  {
    what: 'a reader who may not write cannot lock records, and sees who does',
    steps: [
      PUT,
      holds(OWNER),
      {
        as: OTHER,
        does: `const db = await open({ readOnly: true })
               const codes = []
               for (const lock of [() => db.tryLock('key'), () => db.lock('other')])
                 try { await lock(); codes.push('none') } catch (error) { codes.push(error.code) }
               const seen = db.locks().map(({ key, state }) => key + ' ' + state)
               await db.close(); return [...codes, ...seen]`,
        gives: ['ERR_MMAPDB_READ_ONLY', 'ERR_MMAPDB_READ_ONLY', 'key held'],
      },
      { as: OTHER, command: ['stats'], status: 0, prints: /key +│ +held/ },
    ],
  },
  {
    what: 'a lock that root was the first to need keeps the owner out, and its file does not',
    steps: [
      PUT,
      { ...holds(ROOT), umask: 0o077 },
      {
        as: OWNER,
        does: `const db = await open(); const { uid, mode } = fs.statSync(path + '/locks')
               const had = [db.tryLock('key'), db.tryLock('other')].map((lock) => lock !== undefined)
               await db.close(); return [uid, mode & 0o777, ...had]`,
        gives: [OWNER.uid, 0o644, false, true],
      },
    ],
  },
])
