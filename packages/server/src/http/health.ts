import type { Route } from './route.ts'

export interface HealthDeps {
  /** Why this node cannot answer for now, in words for an operator; undefined when it can. */
  readonly unready: () => Promise<string | undefined>
}

const PATIENCE_MS = 2000

/** `/livez`: the process answers, whatever else is down. `/readyz`: it can do its work. */
export function healthRoutes({ unready }: HealthDeps): readonly Route[] {
  const route = (path: string, respond: Route['respond']): Route => ({ method: 'GET', path, access: 'public', errors: 'page', respond })
  return [
    route('/livez', () => answer(200, 'ok')),
    route('/readyz', async () => {
      const reason = await within(PATIENCE_MS, unready())
      return reason === undefined ? answer(200, 'ok') : answer(503, reason)
    }),
  ]
}

/** A probe is answered in time, also while a database hangs. */
async function within(patienceMs: number, work: Promise<string | undefined>): Promise<string | undefined> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve('the store does not answer in time'), patienceMs)
  })
  try {
    return await Promise.race([work, late])
  } finally {
    clearTimeout(timer)
  }
}

function answer(status: number, text: string): Response {
  return new Response(`${text}\n`, { status, headers: { 'content-type': 'text/plain; charset=utf-8', 'cache-control': 'no-store' } })
}
