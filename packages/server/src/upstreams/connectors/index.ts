import type { ConnectorSettings, Upstream } from '../upstream.ts'
import { apiKeyConnector } from './api-key.ts'
import { clientCredentialsConnector, type ClientCredentialsDeps } from './client-credentials/connector.ts'
import type { Connector } from './connector.ts'
import { entraObo, type EntraOboDeps } from './entra-obo/connector.ts'
import { googleDelegation, type GoogleDelegationDeps } from './google-delegation.ts'
import { idJagConnector, type IdJagConnectorDeps } from './id-jag/connector.ts'
import { noneConnector } from './none.ts'
import type { OAuthConnector } from './oauth/connector.ts'
import { tokenExchangeConnector, type TokenExchangeDeps } from './token-exchange/connector.ts'

export type Connectors = (upstream: Upstream) => Connector

type Make<Type> = (settings: Extract<ConnectorSettings, { readonly type: Type }>) => Connector

/** What connectors are made of, besides the one that is made for all upstreams. */
export type ConnectorDeps = EntraOboDeps & GoogleDelegationDeps & ClientCredentialsDeps & IdJagConnectorDeps & TokenExchangeDeps

/** Finds the connector of an upstream: a new kind is one file and one line. */
export function connectors(oauth: OAuthConnector, deps: ConnectorDeps): Connectors {
  const none = noneConnector()
  const kinds: { readonly [Type in ConnectorSettings['type']]: Make<Type> } = {
    none: () => none,
    'api-key': apiKeyConnector,
    oauth: () => oauth,
    'client-credentials': () => clientCredentialsConnector(deps),
    'entra-obo': (settings) => entraObo(settings, deps),
    'google-delegation': (settings) => googleDelegation(settings, deps),
    'id-jag': (settings) => idJagConnector(settings, deps),
    'token-exchange': (settings) => tokenExchangeConnector(settings, deps),
  }
  const made = new Map<string, Connector>()
  return (upstream) => {
    let connector = made.get(upstream.id)
    if (connector === undefined) {
      connector = (kinds[upstream.connector.type] as Make<ConnectorSettings['type']>)(upstream.connector)
      made.set(upstream.id, connector)
    }
    return connector
  }
}
