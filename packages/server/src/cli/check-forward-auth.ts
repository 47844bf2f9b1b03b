// Says what servers behind a reverse proxy do without: a proxy asks about requests alone.
import type { Config } from '../config/load.ts'
import { profileSettings } from '../config/settings.ts'
import { matcher } from '../policy/pattern.ts'
import { ok, warning, type Finding } from './finding.ts'

const LIMITS = 'lists show every tool, definitions are not pinned, and a stream that is open outlives a revocation (docs/forward-auth.md)'

export function checkForwardAuth(config: Config): readonly Finding[] {
  const profiles = new Map(profileSettings(config).map((profile) => [profile.id, profile]))
  return config.forwardAuth.map(({ id, resource, profile, validatesHeaders }) => {
    const check = `protected server ${id}`
    const settings = profiles.get(profile)
    const [upstream = profile] = settings?.upstreams ?? []
    const single = [...(settings?.tools?.[upstream] === undefined ? [] : [`profile ${profile}`]), ...rulesOfTools(config, upstream)]
    if (single.length === 0) return ok(check, `${resource}: ${LIMITS}`)
    if (!validatesHeaders) return warning(check, `${single.join(', ')} ${speaks(single)} of single tools, and the server does not say that it compares headers with bodies: who may not use everything there may use nothing`, 'set validatesHeaders if it does, or put it behind /mcp as an upstream')
    return warning(check, `${single.join(', ')} ${speaks(single)} of single tools: calls are decided one by one, but ${LIMITS}`, 'put the server behind /mcp as an upstream where lists must not show what cannot be called')
  })
}

function speaks({ length }: readonly string[]): string {
  return length === 1 ? 'speaks' : 'speak'
}

function rulesOfTools({ rules }: Config, upstream: string): readonly string[] {
  const isSingle = ({ tools, when, unless }: Config['rules'][number]): boolean => (tools !== undefined && !tools.includes('*')) || when?.tool !== undefined || unless?.tool !== undefined
  return rules.filter((rule) => isSingle(rule) && matcher(rule.upstreams)(upstream)).map(({ id }) => `rule ${id}`)
}
