import { html } from 'hono/html'

/** What `html` of hono/html makes: values are escaped, fragments are not escaped twice. */
export type Html = ReturnType<typeof html>

export interface PageContent {
  readonly title: string
  readonly body: Html
  readonly status?: number
  /** Origins or schemes that a form of this page may lead to by redirect, for the content security policy. */
  readonly formTargets?: readonly string[]
  /** Where the page goes by itself after a while. */
  readonly refresh?: { readonly seconds: number; readonly url: string }
  readonly headers?: Readonly<Record<string, string>>
}

/** Answers with a whole page: layout, style, and the headers that keep it from being framed, cached or scripted. */
export async function page(content: PageContent): Promise<Response> {
  const document = await html`<!doctype html>
<html lang="en">
  <head>
    <meta charset="utf-8">
    <meta name="viewport" content="width=device-width, initial-scale=1">
    <meta name="color-scheme" content="light dark">
    <title>${content.title} · Lanyard</title>${content.refresh === undefined ? '' : html`
    <meta http-equiv="refresh" content="${content.refresh.seconds};url=${content.refresh.url}">`}
    <link rel="stylesheet" href="/assets/lanyard.css">
    <link rel="icon" href="/assets/lanyard.svg" type="image/svg+xml">
  </head>
  <body>
    <header class="masthead"><img src="/assets/lanyard.svg" alt="" width="28" height="28"><span>Lanyard</span></header>
    <main>${content.body}</main>
  </body>
</html>`
  const headers = new Headers({
    'content-type': 'text/html; charset=utf-8',
    'cache-control': 'no-store',
    'content-security-policy': contentSecurityPolicy(content.formTargets ?? []),
    'x-frame-options': 'DENY',
    ...content.headers,
  })
  return new Response(String(document), { status: content.status ?? 200, headers })
}

/** Browsers apply `form-action` to the redirects that follow a form, so its targets must stand there. */
function contentSecurityPolicy(formTargets: readonly string[]): string {
  const targets = ["'self'", ...formTargets.filter((target) => /^[a-z][a-z0-9+.-]*:(?:\/\/[\w.:*[\]-]+)?$/i.test(target))]
  return [
    "default-src 'none'",
    "style-src 'self'",
    "img-src 'self'",
    `form-action ${targets.join(' ')}`,
    "frame-ancestors 'none'",
    "base-uri 'none'",
  ].join('; ')
}

/** Where a form that ends at this URI may lead: its origin, or its scheme where a policy cannot name the origin. */
export function formTarget(uri: string): string {
  const url = new URL(uri)
  // Content Security Policy §2.3.1 knows no IPv6 addresses: browsers would ignore the source and stop the redirect.
  if (url.hostname.startsWith('[')) return url.protocol
  if (url.protocol === 'http:' || url.protocol === 'https:') return url.origin
  return url.protocol
}

/**
 * Where a form may lead besides its own target: browsers apply `form-action` to every redirect that follows it, to an
 * identity or upstream provider, and from the client on to wherever its own page lives. All of them are https, and on
 * loopback while the gateway itself is there.
 */
export function outside(issuer: string): readonly string[] {
  return issuer.startsWith('http:') ? ['https:', 'http://127.0.0.1:*', 'http://localhost:*'] : ['https:']
}

/** Makes text from elsewhere fit to be shown: no control, direction or invisible characters, no more than `max` characters. */
export function plain(text: string, max = 120): string {
  const clean = text
    .normalize('NFC')
    .replace(/[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Cn}\p{DI}\u2028\u2029\u2800]/gu, ' ')
    .replace(/\s+/g, ' ')
    .trim()
  const characters = Array.from(clean)
  return characters.length <= max ? clean : `${characters.slice(0, max - 1).join('')}…`
}

/** Makes a sentence of the description of an OAuth error. */
export function sentence(text: string): string {
  return `${text.charAt(0).toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? '' : '.'}`
}

export interface ErrorContent {
  readonly status: number
  readonly title: string
  readonly message: string
  readonly reference: string
  readonly headers?: Readonly<Record<string, string>>
}

/** The page of an error: what happened, what to do next, and the reference that finds the recorded steps. */
export function errorPage(error: ErrorContent): Promise<Response> {
  return page({
    title: error.title,
    status: error.status,
    ...(error.headers === undefined ? {} : { headers: error.headers }),
    body: html`<h1>${error.title}</h1>
      <p>${error.message}</p>
      ${referenceLine(error.reference)}`,
  })
}

export function referenceLine(reference: string): Html {
  return html`<p class="muted reference">If you ask your administrator, give them this reference: <code>${reference}</code></p>`
}
