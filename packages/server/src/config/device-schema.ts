import * as z from 'zod'
import { CLIENT_CLASSES } from '../authorize/device.ts'

export const deviceAuthorization = z
  .strictObject({
    allow: z.array(z.enum(CLIENT_CLASSES)).default([...CLIENT_CLASSES]),
    freshSignIn: z.boolean().default(true),
  })
  .default({ allow: [...CLIENT_CLASSES], freshSignIn: true })
