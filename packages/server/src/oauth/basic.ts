/**
 * The value of an `Authorization` header for `client_secret_basic` (RFC 6749 §2.3.1), encoding no more than a form
 * encodes: some servers do not decode what did not need it.
 */
export function basicAuthorization(clientId: string, secret: string): string {
  const encode = (value: string): string => new URLSearchParams({ v: value }).toString().slice(2)
  return `Basic ${Buffer.from(`${encode(clientId)}:${encode(secret)}`).toString('base64')}`
}
