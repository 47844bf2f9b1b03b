import * as z from 'zod'
import { id, mcpScope, patterns } from './words.ts'

const names = z.array(z.string().min(1)).min(1, 'name at least one')

/** Who may exchange which tokens for what: see docs/token-exchange.md. */
export const tokenExchange = z
  .array(
    z.strictObject({
      id,
      clients: names,
      identityProvider: id.optional(),
      tokenTypes: z.array(z.enum(['access_token', 'id_token', 'refresh_token'])).min(1, 'name at least one').optional(),
      audiences: names.optional(),
      issuedTo: names.optional(),
      targets: names,
      scopes: z.array(mcpScope).min(1, 'leave it out for all that the subject token has, or name at least one').optional(),
      actors: patterns.optional(),
    }),
  )
  .default([])
