/** Makes and reads the cookies of one gateway: `__Host-`, Secure, HttpOnly, SameSite=Lax behind https. */
export interface Cookies {
  read(request: Request, name: string): string | undefined
  /** The value of a `Set-Cookie` header. `maxAge` in seconds; 0 deletes. */
  write(name: string, value: string, maxAge: number): string
}

/** An http issuer is allowed on loopback alone, where `__Host-` cookies (which must be Secure) do not work everywhere. */
export function cookies(issuer: string): Cookies {
  const secure = issuer.startsWith('https:')
  const full = (name: string): string => (secure ? `__Host-lanyard_${name}` : `lanyard_${name}`)
  return {
    read(request, name) {
      const wanted = `${full(name)}=`
      const found = (request.headers.get('cookie') ?? '').split(';').map((pair) => pair.trim()).filter((pair) => pair.startsWith(wanted))
      // Two cookies of one name: somebody planted one (a sibling domain, a longer path). Trust neither.
      return found.length === 1 ? found[0]?.slice(wanted.length) : undefined
    },
    write: (name, value, maxAge) =>
      `${full(name)}=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${maxAge}${secure ? '; Secure' : ''}`,
  }
}
