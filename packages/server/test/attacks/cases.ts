// The attacks that a gateway of this kind must refuse, in our own words, by the identifiers that test titles carry. Each
// is proven with its twin, the legitimate request that succeeds.

export interface AttackCase {
  readonly id: string
  readonly text: string
  /** Why no test can refuse it here: it concerns something that this version does not have. */
  readonly beyond?: string
}

const attack = (id: string, text: string, beyond?: string): AttackCase => ({ id, text, ...(beyond === undefined ? {} : { beyond }) })


const AUTHORIZATION: readonly AttackCase[] = [
  attack('A01', 'a redirect URI that nobody registered'),
  attack('A02', 'a redirect URI that resembles a registered one: longer, with user information, another case, encoded, look-alike letters'),
  attack('A03', 'loopback in other spellings, or another path by way of the free port'),
  attack('A05', 'a fragment or a wildcard, and errors that redirect to what was not proven'),
  attack('A06', 'a parameter twice, with two values'),
  attack('A08', 'a response mode that the client did not register'),
  attack('A10', 'a redirect that repeats the form'),
  attack('A11', 'codes and tokens in Referer, caches and query strings'),
  attack('A13', 'markup, direction marks and long texts in what a client says of itself'),
  attack('A15', 'an old session where a fresh sign-in was asked for'),
  attack('A16', 'request objects, by value or by address'),
]

const CODES: readonly AttackCase[] = [
  attack('B02', 'PKCE left out, plain, or by an unknown method'),
  attack('B04', 'a verifier that is wrong, short, of other characters, or the challenge itself'),
  attack('B05', 'a code that is used again'),
  attack('B06', 'one code redeemed by many at once, on two nodes'),
  attack('B07', 'a code with another client, redirect URI or resource; a failed try must not use it up'),
  attack('B09', 'a code after its minute'),
  attack('B10', 'a code before every step of the sign-in is done'),
]

const TOKEN_ENDPOINT: readonly AttackCase[] = [
  attack('C01', 'a refresh token that comes back after its window'),
  attack('C02', 'the honest twin: a client that lost the answer and asks again'),
  attack('C03', 'one refresh token used by many at once, on two nodes'),
  attack('C04', 'a used refresh token from another client inside the window'),
  attack('C05', 'a used refresh token after all nodes started anew'),
  attack('C07', 'refreshing for somebody, or by a client, that is gone, and after it came back'),
  attack('C09', 'another authentication method than the registered one, two at once, malformed Basic'),
  attack('C10', 'client assertions: used twice, for another audience, badly signed, long-lived, by another key'),
  attack('C12', 'an access token, and streams, after its grant was revoked at another node'),
  attack('C14', 'token requests in other formats, and large ones'),
  attack('C15', 'opaque tokens that are cut, lengthened or of another case'),
]

const CONSENT: readonly AttackCase[] = [
  attack('D01', 'the confused deputy: a consent to one client used by another'),
  attack('D02', 'a request that one browser approved and another one finishes'),
  attack('D03', 'callbacks with made-up state before anything was approved'),
  attack('D04', 'an account that somebody else began to connect'),
  attack('D06', 'an old consent for a wider scope, another address or a changed client'),
  attack('D08', 'a code without anybody having been asked'),
  attack('D09', 'a session that was fixed before the sign-in, and planted cookies'),
  attack('D11', 'signing a victim in to the account of the attacker'),
  attack('D13', 'a page that shows less than what is granted'),
]

const UPSTREAM_ACCOUNTS: readonly AttackCase[] = [
  attack('E01', 'the code of an honest server at the callback of another'),
  attack('E03', 'metadata in which one server borrows the name or endpoint of another'),
  attack('E05', 'tokens, cookies and keys of the caller on their way upstream'),
  attack('E06', 'accounts and grants of somebody else, by their identifier'),
  attack('E08', 'a stolen database without its key'),
  attack('E10', 'an expired upstream token refreshed by many callers at once, on two nodes'),
  attack('E11', 'a rotated upstream token that the store could not take'),
  attack('E13', 'a refresh that brings less scope, another type or another account'),
  attack('E15', 'credentials at the provider after a person left'),
]

const REGISTRATION: readonly AttackCase[] = [
  attack('F01', 'a flood of registrations from one client, one network or many'),
  attack('F03', 'a registration that grants itself privileges'),
  attack('F05', 'metadata documents that are not what or where they say, or are large, slow or compressed'),
  attack('F06', 'a metadata document at an internal address'),
  attack('F08', 'a cache that keeps errors, or trusts what has changed since'),
  attack('F10', 'a known client\'s document with a return to this computer'),
  attack('F11', 'a generated identifier that is the address of a document'),
  attack('F13', 'a client that calls itself by a trusted name'),
]

const TOKENS: readonly AttackCase[] = [
  attack('G02', 'keys that a token brings along or points to'),
  attack('G03', 'another kind of JWT as an access token'),
  attack('G04', 'a token for one server at another'),
  attack('G05', 'issuer or audience missing, doubled or spelled otherwise'),
  attack('G06', 'a token of the identity provider as one of the gateway'),
  attack('G07', 'times at and beyond their edges'),
  attack('G08', 'token exchange for more than was given'),
  attack('G10', 'an exchanged token that outlives its subject'),
  attack('G11', 'forged, foreign and repeated ID-JAGs'),
  attack('G12', 'one subject identifier at two providers'),
  attack('G13', 'DPoP proofs of another request, key or time', 'there is no DPoP yet'),
  attack('G15', 'a token of another installation, of the same name'),
]

const DEVICES: readonly AttackCase[] = [
  attack('L01', 'guessing the codes that devices show'),
  attack('L03', 'a code, or a link with one, that somebody is sent, so that another device acts as them'),
  attack('L04', 'a device code that is used again, by another client, too often, after a denial'),
]

const DATA_PLANE: readonly AttackCase[] = [
  attack('H01', 'headers that say something else than the body'),
  attack('H02', 'headers that are missing'),
  attack('H03', 'a forbidden call inside a batch'),
  attack('H05', 'bodies that two parsers read differently'),
  attack('H06', 'a hidden tool, called by its name'),
  attack('H07', 'a list that the filter might not recognise'),
  attack('H08', 'tools of two servers with one name'),
  attack('H10', 'answers that reach another client with the same request identifier'),
  attack('H12', 'changed, repeated and foreign state handles and sessions'),
  attack('H13', 'identities that a message claims for itself in `_meta`'),
  attack('H15', 'other origins and host names (DNS rebinding)'),
  attack('H17', 'an error during authentication that lets the caller in'),
  attack('H18', 'an unknown address that falls to something wider'),
  attack('H20', 'tools that change after they were approved, and what is hidden in what they say'),
  attack('H22', 'a command to be started on the gateway\'s machine'),
  attack('H23', 'names and arguments that change the address of the upstream'),
]

const OUTBOUND: readonly AttackCase[] = [
  attack('I01', 'addresses of special use, in every spelling'),
  attack('I03', 'a name that resolves to something else the second time, or to several addresses'),
  attack('I04', 'a redirect to an internal address'),
  attack('I06', 'slow, huge and compressed answers'),
  attack('I08', 'errors that tell what an internal host answered'),
  attack('I09', 'a typo that opens the guard'),
]

const ADMINISTRATION: readonly AttackCase[] = [
  attack('M01', 'the administrators’ API by everybody else, and with tokens for something else'),
  attack('M04', 'the administrators’ API from a page of another site'),
  attack('X28', 'rules that are wrong, in part or as a whole'),
]

/** What the list does not have: attacks on what is special about this code. */
const OWN: readonly AttackCase[] = [
  attack('Z01', 'every route by nobody, by somebody else, with a token for a tool server, and with garbage'),
  attack('Z02', 'a large body at every route that takes one'),
  attack('Z03', 'a repeated parameter at every route'),
  attack('Z04', 'one request that a proxy and a node could read as two'),
  attack('Z05', 'connections that send almost nothing, and hold on'),
  attack('Z06', 'a line break on its way into a header of an answer'),
  attack('Z07', 'a form that is sent again after it was answered'),
  attack('Z08', 'calls and refreshes while their grant is revoked at another node'),
  attack('Z09', 'any bit of a session identifier, or of the link to connect an account, changed'),
  attack('Z10', 'cookies of a sibling host or path beside, or instead of, the gateway\'s own'),
  attack('Z12', 'odd values in every place of a request, at every route'),
  attack('Z11', 'mutated input for every parser, led by what it reaches'),
]

export const GROUPS: readonly (readonly [string, readonly AttackCase[]])[] = [
  ['Authorization endpoint and redirect URI', AUTHORIZATION],
  ['Codes and PKCE', CODES],
  ['Token endpoint, refreshing, revocation', TOKEN_ENDPOINT],
  ['Consent, sign-in and browser binding', CONSENT],
  ['Upstream accounts and their vault', UPSTREAM_ACCOUNTS],
  ['Clients and their registration', REGISTRATION],
  ['Access tokens', TOKENS],
  ['Devices', DEVICES],
  ['The data plane', DATA_PLANE],
  ['Outbound requests', OUTBOUND],
  ['Administration and policy', ADMINISTRATION],
  ['What is special about this code', OWN],
]
