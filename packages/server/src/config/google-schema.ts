import { createPrivateKey } from 'node:crypto'
import * as z from 'zod'
import { httpUrl, id, secret } from './words.ts'

const GOOGLE = { tokenUrl: 'https://oauth2.googleapis.com/token', iamUrl: 'https://iamcredentials.googleapis.com', stsUrl: 'https://sts.googleapis.com', metadataUrl: 'http://metadata.google.internal' } as const

export const domain = z.string().regex(/^(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z0-9-]{2,}$/, 'must be a domain in lower case, such as example.com')
const address = z.string().regex(/^[^\s@"(),:;<>[\]\\]+@[a-z0-9.-]+$/, 'must be an e-mail address, its domain in lower case')

/** What of a key file is used; whatever else stands in it is Google's. */
const keyFile = z.object({ type: z.literal('service_account'), client_email: z.string().min(1), private_key: z.string().min(1), private_key_id: z.string().min(1), token_uri: httpUrl.default(GOOGLE.tokenUrl) })

const workloadIdentity = z.strictObject({
  provider: z.string().regex(/^projects\/\d+\/locations\/global\/workloadIdentityPools\/[a-z0-9-]+\/providers\/[a-z0-9-]+$/, 'must be projects/{number}/locations/global/workloadIdentityPools/{pool}/providers/{provider}'),
  subject: z.string().min(1).max(127).default('lanyard'),
})

/** A service account: with the text of its key file, or, without a key, by its address alone. */
export const serviceAccount = z
  .strictObject({ key: secret.optional(), email: address.optional(), workloadIdentity: workloadIdentity.optional(), tokenUrl: httpUrl.optional(), iamUrl: httpUrl.default(GOOGLE.iamUrl), metadataUrl: httpUrl.default(GOOGLE.metadataUrl), stsUrl: httpUrl.default(GOOGLE.stsUrl) })
  .transform(({ key, email, workloadIdentity: identity, tokenUrl, ...places }, context) => {
    const fail = (path: string, message: string): never => {
      context.addIssue({ code: 'custom', path: [path], message })
      return z.NEVER
    }
    if (key === undefined) return email === undefined ? fail('key', 'is missing: the text of the key file (${file:PATH}), or email for signing without a key') : { email, tokenUrl: tokenUrl ?? GOOGLE.tokenUrl, ...places, ...(identity === undefined ? {} : { workloadIdentity: identity }) }
    if (identity !== undefined) return fail('workloadIdentity', 'is of no use with a key')
    if (email !== undefined) return fail('email', 'and key exclude each other: the key file names the account')
    const file = keyFile.safeParse(jsonOf(key)).data
    if (file === undefined || !isPrivateKey(file.private_key)) return fail('key', 'must be the text of a service account key file, as the Cloud console gives it out')
    return { email: file.client_email, key: { id: file.private_key_id, privateKey: file.private_key }, tokenUrl: tokenUrl ?? file.token_uri, ...places }
  })

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return undefined
  }
}

function isPrivateKey(pem: string): boolean {
  try {
    return createPrivateKey(pem).asymmetricKeyType === 'rsa'
  } catch {
    return false
  }
}

/** The scopes of a delegation are exactly those that the Admin console lists: one too many fails as a whole. */
export const googleDelegation = z.strictObject({
  type: z.literal('google-delegation'),
  serviceAccount,
  scopes: z.array(z.string().regex(/^[\x21\x23-\x5b\x5d-\x7e]+$/, 'must be one printable word')).min(1, 'name at least one'),
  provider: id.optional(),
  domains: z.array(domain).min(1, 'leave it out for those of the provider, or name at least one').optional(),
  users: z.array(z.strictObject({ provider: id, subject: z.string().min(1).max(255), address })).default([]),
})

/** How groups are read: Google's ID tokens say nothing of them. */
export const googleDirectory = z.strictObject({ serviceAccount, administrator: address.optional(), url: httpUrl.default('https://admin.googleapis.com') })
