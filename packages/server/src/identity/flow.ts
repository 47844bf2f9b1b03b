import type { Cookies } from '../http/cookies.ts'
import { hash, newSecret } from '../oauth/secret.ts'
import type { Flows } from './sign-in.ts'

const FLOW_SECONDS = 1800
const SECRET = /^lyd_flow_[A-Za-z0-9_-]{43}$/

/** Remembers a browser by a cookie, before anybody has signed in: what it starts, only it may finish. */
export function flows(cookies: Cookies): Flows {
  return {
    current(request) {
      const known = cookies.read(request, 'flow')
      const isNew = known === undefined || !SECRET.test(known)
      const secret = isNew ? newSecret('lyd_flow') : known
      return { hash: hash(secret), isNew, setCookie: cookies.write('flow', secret, FLOW_SECONDS) }
    },
  }
}
