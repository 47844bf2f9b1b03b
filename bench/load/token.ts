// OAuth clients by hand: refresh tokens in chains, each used once; codes and assertions, each exchanged once; tokens asked about, or exchanged for others.
import type { Actor, Secret, TokenJob } from './job.ts'
import { plainConnection, type PlainReply } from './plain.ts'

type Body = Readonly<Record<string, unknown>>

/** All connections take codes and assertions from one pile. */
export function tokenActors(job: TokenJob): Actor[] {
  const pile = [...job.secrets]
  return Array.from({ length: job.connections }, (_, index) => tokenActor(job, pile, job.secrets[index % job.secrets.length]))
}

function tokenActor(job: TokenJob, pile: Secret[], own: Secret | undefined): Actor {
  const { origin, pathname } = new URL(job.url)
  const client = plainConnection(origin)
  const fixed = new URLSearchParams(job.form).toString()
  const ask = async (form: Readonly<Record<string, string>>): Promise<Body> => {
    const own = Object.entries(form).map(([name, value]) => `&${name}=${encodeURIComponent(value)}`)
    return answerOf(await client.post(pathname, fixed + own.join('')))
  }
  let refreshToken = own?.value ?? ''
  const steps: Record<TokenJob['kind'], () => Promise<boolean>> = {
    async refresh() {
      const answer = await ask({ refresh_token: refreshToken })
      const next = textOf(answer, 'refresh_token')
      // RFC 9700 §4.14.2: rotated, or there is nothing to measure.
      if (next === refreshToken || textOf(answer, 'access_token') === '') throw new Error('the refresh token was not rotated')
      refreshToken = next
      return true
    },
    async code() {
      const code = pile.pop()
      if (code === undefined) return false
      const answer = await ask({ code: code.value, code_verifier: code.verifier ?? '' })
      textOf(answer, 'access_token')
      textOf(answer, 'refresh_token')
      return true
    },
    async assertion() {
      const assertion = pile.pop()
      if (assertion === undefined) return false
      textOf(await ask({ assertion: assertion.value }), 'access_token')
      return true
    },
    async exchange() {
      const answer = await ask({ subject_token: own?.value ?? '' })
      if (textOf(answer, 'access_token') === own?.value || textOf(answer, 'issued_token_type') === '') throw new Error('the token was not exchanged')
      return true
    },
    async introspect() {
      const answer = await ask({ token: own?.value ?? '' })
      if (answer['active'] !== true) throw new Error('a live token is not active')
      return true
    },
  }
  return { prepare: () => Promise.resolve(), step: () => steps[job.kind](), close: () => client.close() }
}

function answerOf({ status, body }: PlainReply): Body {
  if (status !== 200) throw new Error(`${status}: ${body.slice(0, 300)}`)
  return JSON.parse(body) as Body
}

function textOf(answer: Body, name: string): string {
  const value = answer[name]
  if (typeof value !== 'string' || value === '') throw new Error(`the answer has no ${name}`)
  return value
}
