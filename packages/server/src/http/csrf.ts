import { createHmac, timingSafeEqual } from 'node:crypto'

/** The token that a form of this session carries for one purpose: no other site, session or form can know it. */
export function csrfToken(secret: string, purpose: string): string {
  return createHmac('sha256', secret).update(purpose).digest('base64url')
}

export function checkCsrf(given: string | undefined, secret: string, purpose: string): boolean {
  const expected = Buffer.from(csrfToken(secret, purpose))
  const actual = Buffer.from(given ?? '')
  return actual.length === expected.length && timingSafeEqual(actual, expected)
}
