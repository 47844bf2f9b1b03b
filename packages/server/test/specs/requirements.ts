// What the specifications ask of a gateway of this kind, in our own words, by the identifiers that test titles carry.

export interface Requirement {
  readonly id: string
  readonly level: 'MUST' | 'SHOULD' | 'MAY'
  readonly text: string
  /** Why no test can prove it here: it concerns something that this version does not have, or somebody else. */
  readonly beyond?: string
}

const must = (id: string, text: string, beyond?: string): Requirement => ({ id, level: 'MUST', text, ...(beyond === undefined ? {} : { beyond }) })
const should = (id: string, text: string, beyond?: string): Requirement => ({ ...must(id, text, beyond), level: 'SHOULD' })
const may = (id: string, text: string, beyond?: string): Requirement => ({ ...must(id, text, beyond), level: 'MAY' })

const CLIENT_SIDE = 'it asks something of a client that calls tools; the gateway passes those messages on'

/** The authorization server. */
export const AUTHORIZATION_SERVER: readonly Requirement[] = [
  must('AS-1', 'OAuth 2.1 for public and confidential clients'),
  must('AS-2', 'metadata by RFC 8414 and by OpenID discovery, inserted and appended'),
  must('AS-3', 'one issuer, byte for byte the one that resources name'),
  must('AS-4', 'S256 announced and required'),
  should('AS-5', 'client ID metadata documents, announced'),
  may('AS-6', 'dynamic client registration (RFC 7591)'),
  should('AS-7', '`iss` in every authorization response, errors included'),
  must('AS-8', 'and announced in the metadata'),
  should('AS-9', 'the document of a client whose identifier is a URL is fetched'),
  must('AS-10', 'its `client_id` equals its address'),
  must('AS-11', 'it is valid JSON with the required members'),
  must('AS-12', 'the redirect URI is one that was registered, exactly'),
  should('AS-13', 'documents are cached as their headers say; errors and invalid ones never'),
  must('AS-14', 'no redirect is followed, and only 200 counts'),
  must('AS-15', 'no special-use address is fetched from'),
  should('AS-16', 'documents are limited in size'),
  must('AS-17', 'no shared secret in a document'),
  must('AS-18', 'a document that asks for `private_key_jwt` gets no less'),
  should('AS-19', 'no generated identifier begins with https://'),
  should('AS-20', 'consent shows the host of the client'),
  must('AS-21', 'and where the answer goes'),
  should('AS-22', 'with a warning for loopback'),
  may('AS-23', 'trust by domain, clients registered beforehand'),
  should('AS-24', 'a changed document is approved anew'),
  should('AS-25', 'access tokens are short-lived'),
  must('AS-26', 'refresh tokens of public clients rotate'),
  must('AS-27', 'https, loopback aside', 'TLS ends in front of the gateway; the configuration refuses another issuer'),
  must('AS-28', 'no redirect to what was not proven'),
  must('AS-29', 'tokens are for one resource; an unknown one is `invalid_target`'),
  may('AS-30', 'less scope than asked for'),
  must('AS-31', 'tokens at rest are hashed or sealed'),
  must('AS-32', 'consent per client before anything goes to a third party'),
]

/** The protected resource. */
export const PROTECTED_RESOURCE: readonly Requirement[] = [
  must('RS-1', 'metadata by RFC 9728 that names the authorization server'),
  must('RS-2', 'a 401 that says where it is, and the well-known address'),
  should('RS-3', 'the scope to ask for in the challenge'),
  should('RS-4', 'without `offline_access`'),
  should('RS-5', 'and no catalogue of scopes'),
  must('RS-6', 'tokens are verified, and for this resource'),
  must('RS-7', '401 for a token that is not valid, 403 for too little scope, 400 for a malformed request'),
  should('RS-8', '403 with `insufficient_scope` and all that the operation needs'),
  must('RS-9', 'a wider scope includes the narrower'),
  must('RS-10', 'no token of the caller goes upstream'),
  must('RS-11', 'a token with every request, in the header alone'),
  must('RS-12', 'an unknown origin is 403'),
  should('RS-13', 'loopback unless told otherwise'),
  must('RS-14', 'a handle or a session authenticates nobody'),
  should('RS-15', 'handles are unguessable, bound to a user, and end'),
  must('RS-16', 'one endpoint that takes POST'),
  must('RS-17', 'JSON or an event stream for a request, 202 for a notification'),
  must('RS-18', 'headers agree with the body'),
  must('RS-19', 'a version that is not served is told with those that are'),
  must('RS-20', 'an unknown method is 404 and -32601'),
  must('RS-21', 'what a request must say of itself is required'),
  must('RS-22', '`server/discover`'),
  must('RS-23', 'nothing is taken from earlier requests'),
  should('RS-24', 'what a client calls itself decides nothing'),
  should('RS-25', '`serverInfo` in results', 'the upstream says who it is, and its results pass unchanged'),
  must('RS-26', 'what may be cached says for how long and for whom'),
  must('RS-27', 'lists vary by authorization, not by connection'),
  should('RS-28', 'tools keep their order'),
  must('RS-29', 'a client that goes away cancels its call'),
  should('RS-30', 'proxies are told not to buffer streams'),
  must('RS-31', 'no requests on streams of the newest revision', 'streams are the upstream\'s, and pass unchanged'),
  must('RS-32', 'subscriptions are acknowledged first', 'the upstream acknowledges; the gateway passes the stream on'),
  must('RS-33', 'request state is sealed and bound'),
  must('RS-34', 'nothing is asked of a client that did not declare it'),
  must('RS-35', 'no secret is asked for in a form'),
  must('RS-36', 'whoever opens the address is the subject of the token'),
  must('RS-37', 'the address holds nothing private and signs nobody in'),
  must('RS-38', 'credentials of third parties never pass the client'),
  must('RS-39', 'elicitation does not authorize to the gateway itself'),
  should('RS-40', 'GET and DELETE are 405 where there is no session'),
  must('RS-41', 'sessions of the older revisions: 404 when gone, a version that is known'),
  must('RS-42', 'and they authenticate nobody'),
  must('RS-43', 'tasks are bound to their user'),
  must('RS-44', 'no reference in a schema is fetched'),
  should('RS-45', 'a scope that was too narrow is recorded'),
]

/** The client of upstream authorization servers. */
export const UPSTREAM_CLIENT: readonly Requirement[] = [
  must('C-1', 'resource metadata from the challenge, then inserted, then at the root'),
  must('C-2', 'authorization server metadata at each of its places, in order'),
  must('C-3', 'its issuer is the one that was asked for'),
  must('C-4', 'the resource is the upstream'),
  must('C-5', 'no server that does not announce S256'),
  must('C-6', '`iss` is compared before anything else of an answer'),
  must('C-7', '`resource` at both endpoints'),
  must('C-8', 'the token in the header of every request'),
  must('C-9', 'and at no other server than its own'),
  must('C-10', 'registrations belong to one issuer'),
  should('C-11', 'configured, else document, else registration'),
  must('C-12', 'the document that Lanyard hosts is one'),
  must('C-13', '`application_type` when registering, and a refusal is told'),
  should('C-14', 'refresh tokens are asked for, and not taken for granted'),
  must('C-15', 'and kept sealed'),
  must('C-16', 'scope from the challenge, else from the resource, else none'),
  should('C-17', 'more scope when it is asked for, within bounds'),
  should('C-18', '`state` is used and compared'),
  must('C-19', 'no private address by discovery'),
  must('C-20', 'no other scheme than http(s) is opened'),
  must('C-21', 'JSON and event streams are accepted, and headers passed'),
  should('C-22', 'lists are read anew after -32020', CLIENT_SIDE),
  must('C-23', 'request state is echoed exactly'),
  must('C-24', 'an absent `resultType` means complete', CLIENT_SIDE),
  must('C-25', 'no answer is served to another', 'nothing that upstreams answer is cached'),
  must('C-26', 'a broken request gets a new identifier', CLIENT_SIDE),
  should('C-27', 'the era of a server is found once', 'a call goes upstream in the revision that it came in'),
  should('C-28', 'every request ends'),
  should('C-29', 'clients that were registered beforehand'),
  must('C-30', 'an elicitation of the upstream passes unopened'),
]

/** The intermediary. */
export const INTERMEDIARY: readonly Requirement[] = [
  must('P-1', 'consent per client before a third party is asked'),
  must('P-2', 'looked up before the flow begins'),
  must('P-3', 'on a page that shows who asks, with what, and cannot be framed or forged'),
  must('P-4', 'with cookies that no other site or path sets'),
  must('P-5', 'redirect URIs match exactly'),
  must('P-6', 'state is made after consent, used once, and ends'),
  must('P-7', 'no token passes through'),
  must('P-8', 'headers are compared with the body'),
  must('P-9', 'parameters in headers are passed on'),
  should('P-10', 'no policy on headers of a revision that does not bind them'),
  must('P-11', 'headers are trusted for nothing'),
  must('P-12', 'what fails validation has an HTTP error'),
  may('P-13', 'caching within one authorization', 'nothing is cached'),
  should('P-14', 'tools of several servers are named apart'),
  must('P-15', 'streams are not buffered, and ends are passed on'),
  should('P-16', 'another hop\'s -32021 does not leak', 'a request goes upstream with the capabilities of its own client: there is no other hop'),
  should('P-17', 'child processes are confined', 'there are none'),
  should('P-18', 'discovery is not shared between people'),
  should('P-19', 'oversized headers are refused'),
  must('P-20', 'policy reads the tool in the body'),
]

export const CHAPTERS: readonly (readonly [string, readonly Requirement[]])[] = [
  ['Authorization server', AUTHORIZATION_SERVER],
  ['Protected resource', PROTECTED_RESOURCE],
  ['Client of upstream authorization servers', UPSTREAM_CLIENT],
  ['Intermediary', INTERMEDIARY],
]
