// Records of a file or pipe, in batches as they come. At most a chunk and the record at its end are in
// memory. In place of a record that cannot be read there is a `Bad`.
import type { BigIntegers } from '../../encoding/json-text.js'
import { jsonArray, ndjson } from './json.js'
import { separated } from './separated.js'
import type { InputFormat, Item } from './item.js'

export const readItems = (
  source: AsyncIterable<Buffer>,
  format: InputFormat,
  bigIntegers: BigIntegers,
): AsyncGenerator<Item[]> =>
  format === 'ndjson'
    ? ndjson(source, bigIntegers)
    : format === 'json'
      ? jsonArray(source, bigIntegers)
      : separated(source, format)

/** The format that the extension of a file name stands for. */
export function formatOf(path: string): InputFormat | undefined {
  const extension = /\.([^./]+)$/.exec(path)?.[1]?.toLowerCase()
  return ({ ndjson: 'ndjson', jsonl: 'ndjson', json: 'json', csv: 'csv', tsv: 'tsv', tab: 'tsv' } as const)[
    extension as 'json'
  ]
}
