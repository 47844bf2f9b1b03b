/** Sends the browser elsewhere by GET, whatever it came by (RFC 9110 §15.4.4); nobody keeps the way. */
export function seeOther(location: string): Response {
  return new Response(null, { status: 303, headers: { location, 'cache-control': 'no-store' } })
}
