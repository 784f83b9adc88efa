// A scene for a small file system of its own, given as the argument: three processes write until it is
// full, go on trying, and go on writing once there is room again. Ends with 0 if all was well.
import { expect } from 'chai'
import { rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { cleanUp, expectSound, inProcess, openEngine, TINY } from './engine.js'

const mount = process.argv[2]!
const path = join(mount, 'db')
const ballast = join(mount, 'ballast')
const OPTIONS = { ...TINY, segmentBytes: 65536, timeoutMs: 20_000 }

const WRITER = `
  const db = open()
  say('open')
  let n = 0
  for (;;) {
    const name = await hear()
    if (name === 'close') break
    // Until a put is refused and a few more are; or a fixed number of times.
    let refused = 0
    const codes = new Set()
    for (let i = 0; i < 1500 && refused < 5; i++) {
      try {
        db.put([name, n], Buffer.alloc(3000, n))
        n++
      } catch (error) {
        codes.add(error.code ?? String(error.stack))
        refused++
      }
    }
    say({ n, codes: [...codes], failure: db.stats().failure ?? 'none' })
  }
  db.close()
  say('closed')`

async function main(): Promise<void> {
  const engine = openEngine(path, OPTIONS)
  engine.put('mine', Buffer.from('value'))
  writeFileSync(ballast, Buffer.alloc(4 * 2 ** 20))
  const names = ['a', 'b', 'c']
  const peers = names.map(() => inProcess(path, WRITER, OPTIONS))
  for (const peer of peers) expect(await peer.next()).to.equal('open')
  const write = async () => {
    peers.forEach((peer, i) => peer.tell(names[i]))
    return (await Promise.all(peers.map((peer) => peer.next()))) as { n: number; codes: string[]; failure: string }[]
  }
  const check = (db: typeof engine, counts: number[]): void => {
    names.forEach((name, i) => {
      for (let n = 0; n < counts[i]!; n++)
        expect((db.get([name, n]) as Buffer).equals(Buffer.alloc(3000, n))).to.equal(true)
    })
    expect(db.get('mine')).to.deep.equal(Buffer.from('value'))
    expectSound(db)
  }
  const full = await write()
  expect(
    full.map(({ codes }) => codes.join()),
    'all are refused',
  ).to.deep.equal(names.map(() => 'ERR_MMAPDB_FULL'))
  expect(full.map(({ failure }) => failure)).to.deep.equal(names.map(() => 'none'))
  check(
    engine,
    full.map(({ n }) => n),
  )

  rmSync(ballast)
  const more = await write()
  more.forEach(({ n, failure }, i) => {
    expect(n, `writes of ${names[i]} after there was room again`).to.be.greaterThan(full[i]!.n + 20)
    expect(failure).to.equal('none')
  })
  check(
    engine,
    more.map(({ n }) => n),
  )
  for (const peer of peers) {
    peer.tell('close')
    expect(await peer.next()).to.equal('closed')
  }
  engine.close()
  check(
    openEngine(path, OPTIONS),
    more.map(({ n }) => n),
  )
}

main().then(cleanUp, (error) => {
  console.error(error)
  cleanUp()
  process.exitCode = 1
})
