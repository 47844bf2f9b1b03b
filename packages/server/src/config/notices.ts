import * as z from 'zod'

/** Where nothing that is sent leaves this machine. */
function isLoopbackHost(host: string): boolean {
  return host === 'localhost' || host === '::1' || host === '[::1]' || /^127\.\d{1,3}\.\d{1,3}\.\d{1,3}$/.test(host)
}

const webhookUrl = z.url({ protocol: /^https?$/, error: 'must be an https URL', abort: true }).superRefine((value, context) => {
  const { protocol, hostname, username, password } = new URL(value)
  if (username !== '' || password !== '') context.addIssue({ code: 'custom', message: 'must have no credentials: notices are signed' })
  if (protocol !== 'https:' && !isLoopbackHost(hostname)) context.addIssue({ code: 'custom', message: 'must be https (http is allowed on a loopback address alone)' })
})

const webhook = z.strictObject({ url: webhookUrl, secret: z.string().min(32, 'must have at least 32 characters') })

const email = z
  .strictObject({
    host: z.string().regex(/^[A-Za-z0-9.:-]+$/, 'must be a host name or an address'),
    port: z.int().min(1).max(65_535).default(587),
    user: z.string().min(1).optional(),
    password: z.string().min(1).optional(),
    from: z.email('must be an e-mail address'),
    to: z.array(z.email('must be an e-mail address')).min(1, 'name at least one'),
    tls: z.enum(['implicit', 'starttls', 'none']).optional(),
  })
  .superRefine(({ host, tls, user, password }, context) => {
    if (tls === 'none' && !isLoopbackHost(host)) context.addIssue({ code: 'custom', path: ['tls'], message: 'must be implicit or starttls: mail goes in the clear to a loopback address alone' })
    if ((user === undefined) !== (password === undefined)) context.addIssue({ code: 'custom', path: ['user'], message: 'and password go together' })
  })

export const notices = z.strictObject({ webhooks: z.array(webhook).default([]), email: email.optional() }).default({ webhooks: [] })
