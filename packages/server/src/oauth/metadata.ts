import { DEVICE_CODE } from './grant-type.ts'
import { BASELINE_SCOPE } from './scope.ts'

export interface MetadataFacts {
  readonly issuer: string
  /** The grant types of the token endpoint's registry. */
  readonly grantTypes: readonly string[]
  /** What is issued for authorization servers elsewhere, in exchange for a token. */
  readonly requestedTokenTypes?: readonly string[]
  /** The profiles of assertions that are processed; of whose, is nobody's business (ID-JAG §7.4). */
  readonly grantProfiles?: readonly string[]
  /** How clients may authenticate. */
  readonly authMethods: readonly string[]
  /** The algorithms of client assertions, when `private_key_jwt` is among the methods. */
  readonly assertionAlgorithms: readonly string[]
  /** The algorithms of the published signing keys. */
  readonly signingAlgorithms: readonly string[]
  /** The authentication contexts that identity providers know. */
  readonly acrValues?: readonly string[]
  /** The algorithms of DPoP proofs. */
  readonly dpopAlgorithms: readonly string[]
  /** What clients are told to ask for. */
  readonly baselineScope?: readonly string[]
  /** Whether requests count only when they were pushed. */
  readonly requirePushed?: boolean
  readonly registration: { readonly dynamic: boolean; readonly clientIdMetadataDocuments: boolean }
}

/** Builds the authorization server's metadata (RFC 8414 §2): what it names exists, and what is switched off is absent. */
export function authorizationServerMetadata(facts: MetadataFacts): Record<string, unknown> {
  const { issuer, authMethods, assertionAlgorithms } = facts
  const confidential = authMethods.filter((method) => method !== 'none')
  const algorithms = authMethods.includes('private_key_jwt') ? assertionAlgorithms : undefined
  return withoutUndefined({
    // AS-3: byte-identical to what protected resources name as their authorization server.
    issuer,
    authorization_endpoint: `${issuer}/authorize`,
    token_endpoint: `${issuer}/token`,
    registration_endpoint: facts.registration.dynamic ? `${issuer}/register` : undefined,
    revocation_endpoint: `${issuer}/revoke`,
    introspection_endpoint: `${issuer}/introspect`,
    // RFC 8628 §4: absent when it is switched off.
    device_authorization_endpoint: facts.grantTypes.includes(DEVICE_CODE) ? `${issuer}/device_authorization` : undefined,
    // RFC 9126 §5.
    pushed_authorization_request_endpoint: `${issuer}/par`,
    require_pushed_authorization_requests: facts.requirePushed === true ? true : undefined,
    jwks_uri: `${issuer}/jwks`,
    // No `offline_access`: clients that see it ask for consent at every sign-in, and refresh tokens do not depend on it.
    scopes_supported: facts.baselineScope ?? BASELINE_SCOPE,
    response_types_supported: ['code'],
    response_modes_supported: ['query'],
    grant_types_supported: facts.grantTypes,
    // ID-JAG §6.1, draft-ietf-oauth-identity-chaining.
    identity_chaining_requested_token_types_supported: facts.requestedTokenTypes === undefined || facts.requestedTokenTypes.length === 0 ? undefined : facts.requestedTokenTypes,
    // ID-JAG §6.2: absent when nobody's assertions are trusted.
    authorization_grant_profiles_supported: facts.grantProfiles === undefined || facts.grantProfiles.length === 0 ? undefined : facts.grantProfiles,
    // AS-4: clients of MCP refuse a server that does not name it.
    code_challenge_methods_supported: ['S256'],
    token_endpoint_auth_methods_supported: authMethods,
    token_endpoint_auth_signing_alg_values_supported: algorithms,
    revocation_endpoint_auth_methods_supported: authMethods,
    revocation_endpoint_auth_signing_alg_values_supported: algorithms,
    // RFC 7662 §2.1: who introspects has authenticated.
    introspection_endpoint_auth_methods_supported: confidential,
    introspection_endpoint_auth_signing_alg_values_supported: algorithms,
    // RFC 9470 §7: what clients may ask for; absent when no provider's are known.
    acr_values_supported: facts.acrValues === undefined || facts.acrValues.length === 0 ? undefined : facts.acrValues,
    // AS-8, RFC 9207 §3.
    authorization_response_iss_parameter_supported: true,
    // RFC 9449 §5.1.
    dpop_signing_alg_values_supported: facts.dpopAlgorithms,
    client_id_metadata_document_supported: facts.registration.clientIdMetadataDocuments,
  })
}

/**
 * Builds the same metadata at the address of OpenID discovery, for clients that look there alone. No ID token is
 * issued: `openid` is not among the scopes and there is no userinfo endpoint; the fields that OpenID Connect Discovery
 * §3 requires say what an ID token would be signed with.
 */
export function openidConfiguration(facts: MetadataFacts): Record<string, unknown> {
  return {
    ...authorizationServerMetadata(facts),
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: facts.signingAlgorithms,
    claims_parameter_supported: true,
    request_parameter_supported: false,
    // OpenID Connect Discovery §3: it means true when it is absent.
    request_uri_parameter_supported: false,
  }
}

function withoutUndefined(value: Record<string, unknown>): Record<string, unknown> {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== undefined))
}
