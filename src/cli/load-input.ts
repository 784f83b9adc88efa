export type InputFormat = 'ndjson' | 'json' | 'csv' | 'tsv'
