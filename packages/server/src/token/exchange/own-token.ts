import { decodeJwt, errors } from 'jose'

/** For whom a token says that it is: nothing of it is verified. */
export function audienceOf(token: string): string | undefined {
  try {
    const { aud } = decodeJwt(token)
    return Array.isArray(aud) ? aud[0] : aud
  } catch (error) {
    if (error instanceof errors.JOSEError || error instanceof TypeError) return undefined
    throw error
  }
}
