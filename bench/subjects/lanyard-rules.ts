/** The groups of the demo company's people: what they may do stands at the end of the list. */
const GROUPS = ['engineering', 'sales', 'it-admins']

/** Rules about one upstream, as many as asked for: other teams' tools, a tenth of them denials, some for networks alone. */
export function rules(count: number): readonly object[] {
  const own = GROUPS.map((group) => ({ id: `${group}-everything`, effect: 'allow', groups: [group], upstreams: ['echo'], tools: ['*'] }))
  const others = Array.from({ length: Math.max(0, count - own.length) }, (_, index) => ({
    id: `team-${index % 500}-${index}`,
    effect: index % 10 === 0 ? 'deny' : 'allow',
    groups: [`team-${index % 500}`],
    upstreams: ['echo'],
    tools: index % 7 === 0 ? [`area_${index % 50}_*`] : [`tool_${index}`, `tool_${index + 1}`],
    ...(index % 11 === 0 ? { unless: { networks: ['203.0.113.0/24'] } } : {}),
  }))
  return [...others, ...own]
}
