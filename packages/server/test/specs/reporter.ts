// A reporter of Node's test runner: one JSON line for each test that ran, for specs/write.ts.
import { relative } from 'node:path'
import type { TestEvent } from 'node:test/reporters'

const ROOT = new URL('../../../../', import.meta.url).pathname

export interface TestLine {
  readonly title: string
  readonly file: string
  readonly result: 'passed' | 'failed' | 'skipped'
}

export default async function* lines(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const event of source) {
    if ((event.type !== 'test:pass' && event.type !== 'test:fail') || event.data.details.type === 'suite') continue
    const result = event.type === 'test:fail' ? 'failed' : event.data.skip === undefined ? 'passed' : 'skipped'
    const line: TestLine = { title: event.data.name, file: relative(ROOT, entryFile(event.data)), result }
    yield `${JSON.stringify(line)}\n`
  }
}

/** Where the run began: a test that a support file declares for each store is a test of whoever called that. */
function entryFile(data: { readonly file?: string | undefined; readonly entryFile?: unknown }): string {
  return typeof data.entryFile === 'string' ? data.entryFile : (data.file ?? '')
}
