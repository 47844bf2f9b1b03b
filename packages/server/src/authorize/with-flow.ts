import type { Flow } from '../identity/sign-in.ts'

/** The request as this browser will send it from now on: a first step must not make a second flow of it. */
export function withFlow(request: Request, { isNew, setCookie }: Flow): Request {
  if (!isNew) return request
  const headers = new Headers(request.headers)
  const pair = setCookie.slice(0, setCookie.indexOf(';'))
  const name = pair.slice(0, pair.indexOf('=') + 1)
  // One that is no flow's would be a second cookie of the name, of which neither is believed.
  const others = (headers.get('cookie') ?? '').split(/\s*;\s*/).filter((other) => other !== '' && !other.startsWith(name))
  headers.set('cookie', [...others, pair].join('; '))
  return new Request(request.url, { headers })
}
