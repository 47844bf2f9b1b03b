// What all identity providers have in common, of whatever kind.
import * as z from 'zod'
import { id } from './words.ts'

export const commonProvider = {
  id,
  name: z.string().optional(),
  clientId: z.string().min(1),
  scopes: z.array(z.string().min(1)).optional(),
  claims: z.array(z.string().min(1).max(128)).max(32, 'name at most 32').default([]),
  acrValues: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one printable word')).default([]),
  acceptTokens: z.array(z.string().min(1)).default([]),
  acceptIdTokens: z.array(z.string().min(1)).default([]),
}
