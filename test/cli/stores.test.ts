// Named stores on the command line. If these failed, a command would read or write another store than it was told to.
import { expect } from 'chai'
import { open } from '../../src/index.js'
import { fails, json, ok, real, removeScratch, scratchDb } from '../support/cli.js'

describe('named stores on the command line', function () {
  this.timeout(60_000)
  afterEach(removeScratch)

  it('are what --store names, for put, get, del and scan', async () => {
    const path = scratchDb()
    await ok(path, 'put', 'key', 'of the default store')
    await ok(path, 'put', 'key', 'text', '--store', 'texts', '--value-encoding', 'utf8')
    expect(await json(path, 'put', 'n', '5', '--store', 'numbers', '--json-value', '--ttl', '60000')).to.include.keys(
      'version',
      'expiresAt',
    )
    const valueOf = (key: string, ...args: string[]): Promise<string> => ok(path, 'get', key, ...args)
    expect(await valueOf('key')).to.equal('of the default store\n')
    expect(await valueOf('key', '--store', 'texts')).to.equal('text\n')
    expect(await valueOf('n', '--store', 'numbers')).to.equal('5\n')
    // Its own encoding counts, whatever that of the database.
    await ok(path, 'put', 'other', '[1]', '--store', 'texts')
    expect(await ok(path, 'scan', '--store', 'texts')).to.equal('key\t"text"\nother\t"[1]"\n')
    await fails(
      2,
      /values in utf8, not in json/,
      '--db',
      path,
      ...['put', 'a', '1', '--store', 'texts'],
      '--value-encoding',
      'json',
    )
    await ok(path, 'del', 'key', '--store', 'texts')
    await fails(1, /no key/, '--db', path, 'get', 'key', '--store', 'texts')
    expect(await valueOf('key')).to.equal('of the default store\n')
    const { stores } = await json(path, 'stats')
    expect(stores).to.deep.equal([
      { name: 'numbers', valueEncoding: 'msgpack', entries: 1 },
      { name: 'texts', valueEncoding: 'utf8', entries: 1 },
    ])
    expect(await ok(path, 'stats')).to.match(/named stores.*numbers.*1.*msgpack/)
  })

  it('that are not there are named, and not made by those that do not put', async () => {
    const path = scratchDb()
    await ok(path, 'put', 'key', 'value')
    for (const command of [['get', 'key'], ['del', 'key'], ['scan']])
      await fails(
        2,
        /no store "none" in this database. It has no named stores/,
        '--db',
        path,
        ...command,
        '--store',
        'none',
      )
    await ok(path, 'put', 'key', 'value', '--store', 'some')
    await fails(2, /It has these: "some"/, '--db', path, 'scan', '--store', 'none')
    await fails(2, /name of a store/, '--db', path, 'put', 'key', 'value', '--store', '')
    await real.fails(2, /no store "none"/, '--db', path, 'watch', '--store', 'none')
  })

  it('are told by watch, and what was cleared', async () => {
    const path = scratchDb()
    const db = await open(path, { workers: 0 })
    await db.put('a', 1)
    await db.store('users').put('a', 2)
    await db.store('users').clear({ gte: 'b' })
    await db.store('users').clear()
    await db.clear()
    await db.dropStore('users')
    const lines = await real.ok(path, 'watch', '--since', '0', '--limit', '6')
    expect(lines.split('\n')).to.deep.equal([
      'put\ta\t1',
      'put\ta\t2\tin users',
      'clear\ta range\tin users',
      'clear\tall\tin users',
      'clear\tall',
      'drop\tin users',
      '',
    ])
    const ofUsers = await real.ok(path, 'watch', '--since', '0', '--limit', '4', '--store', 'users', '--json')
    const told = ofUsers
      .split('\n')
      .slice(0, -1)
      .map((line) => JSON.parse(line) as Record<string, unknown>)
    expect(told.map(({ type, store, all }) => [type, store, all])).to.deep.equal([
      ['put', 'users', undefined],
      ['clear', 'users', false],
      ['clear', 'users', true],
      ['drop', 'users', undefined],
    ])
    await db.close()
  })
})
