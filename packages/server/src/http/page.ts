import { html } from 'hono/html'

/** What `html` of hono/html makes: values are escaped, fragments are not escaped twice. */
export type Html = ReturnType<typeof html>

export interface PageContent {
  readonly title: string
  readonly body: Html
  readonly status?: number
  /** Origins or schemes that a form of this page may lead to by redirect, for the content security policy. */
  readonly formTargets?: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
}

/** Answers with a whole page: layout, style, and the headers that keep it from being framed, cached or scripted. */
export async function page(content: PageContent): Promise<Response> {
  const document = await html`<!doctype html><html lang="en"><head><meta charset="utf-8"><title>${content.title} · Lanyard</title></head><body>${content.body}</body></html>`
  return new Response(String(document), { status: content.status ?? 200, headers: { 'content-type': 'text/html; charset=utf-8', ...content.headers } })
}
