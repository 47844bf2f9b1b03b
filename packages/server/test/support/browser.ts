// A browser for flows: cookies, redirects and plain forms, no scripts. What it cannot do, Lanyard's pages must not need.

export interface Page {
  readonly url: string
  readonly status: number
  readonly text: string
  readonly headers: Headers
  readonly forms: readonly Form[]
}

export interface Form {
  readonly method: string
  readonly action: string
  readonly fields: Readonly<Record<string, string>>
  /** Name and value of each button. */
  readonly buttons: readonly (readonly [string, string])[]
}

export interface Browser {
  /** Follows redirects until a page, or until `stop` says that an address is the client's. */
  open(url: string): Promise<Page>
  submit(page: Page, form: Form, values?: Readonly<Record<string, string>>): Promise<Page>
  /** Signs in as the person and approves whatever is asked, until the client's own address or a page without a known form. */
  approve(url: string, choices?: Partial<Choices>): Promise<Page>
  readonly visited: readonly string[]
  cookies(host: string): ReadonlyMap<string, string>
}

export interface Choices {
  readonly person: string
  readonly decision: 'approve' | 'deny'
  /** Whether to connect upstream accounts that the flow offers. */
  readonly connect: boolean
}

interface PostedForm {
  readonly method?: string
  readonly body?: string
  readonly headers?: Readonly<Record<string, string>>
}

export interface BrowserOptions {
  /** Addresses that are not requested: the page returned has status 0 and this URL. */
  readonly stop?: (url: string) => boolean
  /** What answers requests; the network when absent. */
  readonly fetch?: (url: string, init: RequestInit) => Promise<Response>
}

/** How often a page may go on by itself, and how soon it does. */
const PATIENCE = 200
const IMPATIENT_MS = 100

/** Opens a browser with an empty cookie jar. Cookies belong to a host name, as in real browsers: ports share them. */
export function browser(options: BrowserOptions = {}): Browser {
  const jar = new Map<string, Map<string, string>>()
  const visited: string[] = []

  const go = async (url: string, init: PostedForm = {}): Promise<Page> => {
    let target = url
    let request = init
    for (let hops = 0; hops < 30; hops += 1) {
      visited.push(target)
      if (options.stop?.(target) === true) return { url: target, status: 0, text: '', headers: new Headers(), forms: [] }
      const host = new URL(target).hostname
      const sent = [...(jar.get(host) ?? [])].map(([name, value]) => `${name}=${value}`).join('; ')
      const response = await (options.fetch ?? fetch)(target, { ...request, redirect: 'manual', headers: { accept: 'text/html', ...(sent === '' ? {} : { cookie: sent }), ...request.headers } })
      store(jar, host, response)
      const location = response.headers.get('location')
      if (location === null || response.status < 300 || response.status > 399) return readPage(target, response)
      await response.body?.cancel()
      target = new URL(location, target).href
      request = {}
    }
    throw new Error(`too many redirects: ${visited.slice(-30).join(' ')}`)
  }

  const submit = (page: Page, form: Form, values: Readonly<Record<string, string>> = {}): Promise<Page> => {
    const fields = new URLSearchParams({ ...form.fields, ...values })
    if (form.method === 'get') return go(`${form.action.split('?')[0] ?? ''}?${fields.toString()}`)
    const headers = { origin: new URL(page.url).origin, 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin' }
    return go(form.action, { method: 'POST', body: fields.toString(), headers })
  }

  const approve = async (url: string, given: Partial<Choices> = {}): Promise<Page> => {
    const choices: Choices = { person: 'alice', decision: 'approve', connect: true, ...given }
    let page = await go(url)
    let patience = PATIENCE
    for (let steps = 0; steps < 20; steps += 1) {
      for (let refresh = refreshOf(page); refresh !== undefined && patience > 0; refresh = refreshOf(page)) {
        patience -= 1
        await new Promise((resolve) => setTimeout(resolve, IMPATIENT_MS))
        page = await go(refresh)
      }
      const next = nextStep(page, choices)
      if (next === undefined) return page
      page = await submit(page, next.form, next.values)
    }
    throw new Error(`the flow does not end: ${page.url}`)
  }

  return { open: (url) => go(url), submit, approve, visited, cookies: (host) => jar.get(host) ?? new Map() }
}

/** Where the page goes by itself; a real browser waits for as long as the page says. */
function refreshOf(page: Page): string | undefined {
  const target = /<meta http-equiv="refresh" content="\d+;url=([^"]+)">/.exec(page.text)?.[1]
  return target === undefined ? undefined : new URL(target, page.url).href
}

function nextStep(page: Page, choices: Choices): { form: Form; values: Record<string, string> } | undefined {
  for (const form of page.forms) {
    if (form.buttons.some(([name, value]) => name === 'login' && value === choices.person)) return { form, values: { login: choices.person } }
    if (form.buttons.some(([name]) => name === 'decision')) return { form, values: { decision: choices.decision } }
  }
  const device = page.forms.find((form) => new URL(form.action).pathname === '/device' && (form.fields['user_code'] ?? '') !== '')
  if (device !== undefined) return { form: device, values: {} }
  const connect = page.forms.find((form) => /\/connections\/[^/]+$/.test(new URL(form.action).pathname))
  if (connect !== undefined && choices.connect) return { form: connect, values: {} }
  const skip = page.forms.find((form) => /\/authorize\/[^/]+$/.test(new URL(form.action).pathname))
  const button = skip?.buttons[0]
  if (skip !== undefined) return { form: skip, values: button === undefined ? {} : { [button[0]]: button[1] } }
  return undefined
}

function store(jar: Map<string, Map<string, string>>, host: string, response: Response): void {
  const cookies = jar.get(host) ?? new Map<string, string>()
  jar.set(host, cookies)
  for (const line of response.headers.getSetCookie()) {
    const [pair = '', ...attributes] = line.split(';').map((part) => part.trim())
    const name = pair.slice(0, pair.indexOf('='))
    const gone = attributes.some((attribute) => /^max-age=0$/i.test(attribute) || /^expires=thu, 01 jan 1970/i.test(attribute))
    if (gone) cookies.delete(name)
    else cookies.set(name, pair.slice(pair.indexOf('=') + 1))
  }
}

async function readPage(url: string, response: Response): Promise<Page> {
  const text = await response.text()
  const forms = [...text.matchAll(/<form\b([^>]*)>([\s\S]*?)<\/form>/gi)].map(([, attributes = '', body = '']): Form => ({
    method: (attribute(attributes, 'method') ?? 'get').toLowerCase(),
    action: new URL(attribute(attributes, 'action') ?? url, url).href,
    fields: Object.fromEntries([...body.matchAll(/<input\b([^>]*)>/gi)].map(([, input = '']) => [attribute(input, 'name') ?? '', attribute(input, 'value') ?? ''])),
    buttons: [...body.matchAll(/<button\b([^>]*)>/gi)].flatMap(([, button = '']) => {
      const name = attribute(button, 'name')
      return name === undefined ? [] : [[name, attribute(button, 'value') ?? ''] as const]
    }),
  }))
  return { url, status: response.status, text, headers: response.headers, forms }
}

function attribute(text: string, name: string): string | undefined {
  const value = new RegExp(`\\b${name}\\s*=\\s*"([^"]*)"`, 'i').exec(text)?.[1]
  return value?.replaceAll('&quot;', '"').replaceAll('&#39;', "'").replaceAll('&lt;', '<').replaceAll('&gt;', '>').replaceAll('&amp;', '&')
}
