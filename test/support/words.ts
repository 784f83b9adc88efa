// Words that readers stumble over, and what to write in their place. The test of the house looks for them in the
// folders that it lists.

/** What not to write (spaces stand for any run of spaces, line breaks and comment marks), and what to write. */
const WORDS: readonly (readonly [pattern: string, better: string])[] = [
  ['anew', 'again'],
  ['whoever', 'the role that acts: the appender, leader, opener, closer, reader, writer, worker or user'],
  ['begun again', 'restarted'],
  ['beg[iau]ns? anew', 'starts again'],
  ['(?:was|were) not had', 'could not be acquired'],
  ['found out', 'detected'],
  ['at the most', 'at most'],
  ['at the least', 'at least'],
  // "so many that ..." is plain.
  ['so many(?! that)', 'that many'],
  ['bereaved', 'whose owner died'],
  ['is none that', 'is not one that'],
  ['that is none(?! of)', 'that is not one'],
  ['of no kind that', 'of an unknown kind'],
]

interface FoundWord {
  readonly line: number
  readonly word: string
  readonly better: string
}

const patterns = WORDS.map(([pattern, better]) => ({
  regex: new RegExp(`\\b(?:${pattern.replaceAll(' ', '[\\s/*#>]+')})\\b`, 'gi'),
  better,
}))

/** Titles of tests stay as they are: tested-mutants.ts and people find the tests by them. */
const TITLE = /\b(?:(?:it|describe)\(|what:)\s*(?:'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*"|`(?:\\.|[^`\\])*`)/g

/** Where `text` has one of them. */
export function wordsIn(text: string): FoundWord[] {
  text = text.replace(TITLE, (title) => title.replace(/[^\n]/g, ' '))
  return patterns.flatMap(({ regex, better }) =>
    [...text.matchAll(regex)].map((match) => ({
      line: text.slice(0, match.index).split('\n').length,
      word: match[0].replace(/[\s/*#>]+/g, ' '),
      better,
    })),
  )
}
