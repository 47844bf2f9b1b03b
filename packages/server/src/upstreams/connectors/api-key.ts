import type { Connector } from './connector.ts'

/** One credential of the service for everybody: an explicit, configured mode, never a fallback. */
export function apiKeyConnector({ header, value }: { readonly header: string; readonly value: string }): Connector {
  const credential = { headers: { [header.toLowerCase()]: value }, version: '0' }
  return { perUser: false, credential: () => Promise.resolve(credential), refused: () => Promise.resolve() }
}
