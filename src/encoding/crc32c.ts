// CRC-32C (Castagnoli), by the processor's instruction where it has one. The native addon computes it, not the addon
// of fast-crc32c: that one aborts the whole process if a thread is terminated while it loads.
import { createRequire } from 'node:module'
import { native } from '../storage/native.js'

/** CRC-32C of `data`, continued from `initial`. */
export const crc32c: (data: Buffer, initial?: number) => number = native.crc32c ?? inJavaScript()

function inJavaScript(): typeof crc32c {
  return (createRequire(import.meta.url)('fast-crc32c/impls/js_crc32c.js') as { calculate: typeof crc32c }).calculate
}
