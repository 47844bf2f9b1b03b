import type { Connector } from './connector.ts'

/** An upstream that asks for no credential. */
export function noneConnector(): Connector {
  return { perUser: false, credential: () => Promise.resolve({ headers: {}, version: '0' }), refused: () => Promise.resolve() }
}
