// Checks where administrators are told of what waits for them: that webhooks and the mail host can be reached, and, when
// asked to, that a notice arrives.
import type { Config } from '../config/load.ts'
import { emailSettings } from '../config/settings.ts'
import type { Outbound } from '../http/outbound.ts'
import { emailTarget, verifyEmail } from '../notices/email.ts'
import { newNotice, type NoticeTarget } from '../notices/notice.ts'
import { webhookTarget, type WebhookSettings } from '../notices/webhook.ts'
import { adviceFor, whyOf } from './check-reach.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

/** @param sends whether a notice that says that it is a test is sent to each of them */
export async function checkNotices(config: Config, outbound: Outbound, sends: boolean): Promise<readonly Finding[]> {
  const email = emailSettings(config)
  const hooks = config.notices.webhooks.map((webhook) => (sends ? delivered(config, checkName(webhook), webhookTarget(webhook, outbound)) : reached(webhook, outbound)))
  if (email === undefined) return Promise.all(hooks)
  const name = `mail host ${email.host}`
  const mail = sends ? delivered(config, name, emailTarget(email)) : verifyEmail(email).then((why) => (why === undefined ? ok(name, `takes mail on port ${email.port}${email.user === undefined ? '' : ', and knows the user'}`) : failed(name, `it cannot be used: ${why}`, 'check host, port, tls, user and password of notices.email')))
  return Promise.all([...hooks, mail])
}

/** The address may be a secret in itself. */
function checkName({ url }: WebhookSettings): string {
  return `webhook at ${new URL(url).host}`
}

async function reached(webhook: WebhookSettings, outbound: Outbound): Promise<Finding> {
  const name = checkName(webhook)
  try {
    // What takes notices may refuse everything else.
    const { status } = await outbound.request(webhook.url, { provenance: 'configured' })
    return status >= 500 ? warning(name, `answers with ${status}`, 'look at the receiver, then send a test notice: lanyard check --send-notice') : ok(name, 'answers')
  } catch (error) {
    return failed(name, `cannot be reached: ${whyOf(error)}`, adviceFor(error))
  }
}

async function delivered({ issuer }: Config, name: string, target: NoticeTarget): Promise<Finding> {
  const notice = newNotice(target.name, issuer, { type: 'test', summary: 'This is a test of notices: there is nothing to do', facts: {} }, Date.now())
  const why = await target.send({ ...notice, attempts: 1 }, Date.now())
  return why === undefined ? ok(name, `took the test notice ${notice.id}`) : failed(name, `did not take the test notice: ${why}`, 'check the address, and that the receiver knows the secret (docs/configuration.md, Notices)')
}
