// The stress that the sanitizers watch, without them: that it runs, and is not ended by an error of its own.
import { expect } from 'chai'
import { spawnSync } from 'node:child_process'
import { inPackage } from '../../src/package-root.js'

describe('sanitizers: the stress within Node.js', () => {
  it('ends threads in the midst of their calls, and leaves a database that is whole', function () {
    this.timeout(60_000)
    const stress = inPackage('dist/crash-tests/sanitizers/stress.js')
    const { status, stdout, stderr } = spawnSync(process.execPath, ['--expose-gc', stress, '4', '1'], {
      encoding: 'utf8',
    })
    expect(stderr).to.equal('')
    expect(stdout).to.match(/stress: [1-9]\d* threads terminated/)
    expect(status).to.equal(0)
  })
})
