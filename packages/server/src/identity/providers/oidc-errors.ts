import * as oauth from 'oauth4webapi'
import { OutboundError } from '../../http/outbound.ts'
import { LoginRefused, ProviderUnavailable, RequirementsUnmet } from './provider.ts'

/** Tells what the provider got wrong from what kept it from answering at all. */
export async function reachable<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw classified(error)
  }
}

function classified(error: unknown): unknown {
  if (error instanceof OutboundError) return new ProviderUnavailable(`the identity provider does not answer: ${error.reason}`, { cause: error })
  if (error instanceof oauth.AuthorizationResponseError) return refusedByProvider(error)
  if (error instanceof oauth.ResponseBodyError) {
    const temporary = isTemporary(error.status) || error.error === 'temporarily_unavailable' || error.error === 'server_error'
    if (temporary) return new ProviderUnavailable(`the identity provider answers with an error: ${printable(error.error)}`, { cause: error })
    return new LoginRefused(`provider: ${printable(error.error)}`, error)
  }
  if (error instanceof oauth.WWWAuthenticateChallengeError) return new LoginRefused(`provider: status ${error.status}`, error)
  if (error instanceof oauth.OperationProcessingError || error instanceof oauth.UnsupportedOperationError) {
    const status = error.cause instanceof Response ? error.cause.status : undefined
    // A page of a proxy, of maintenance or of another sign-in: whatever stands there says nothing of the user.
    if ((status !== undefined && isTemporary(status)) || error.code === oauth.RESPONSE_IS_NOT_JSON || isUnreadable(error)) {
      return new ProviderUnavailable(`the identity provider answers with something else: ${error.code ?? ''} ${status ?? ''}`.trim(), { cause: error })
    }
    // The library's messages are constants: they name claims and parameters, never values.
    return new LoginRefused(`response: ${error.message}`, error)
  }
  return error
}

function isTemporary(status: number): boolean {
  return status >= 500 || status === 429 || (status >= 300 && status < 400)
}

/** A body that should have been JSON and is not; an ID token that cannot be read is something else. */
function isUnreadable(error: oauth.OperationProcessingError | oauth.UnsupportedOperationError): boolean {
  return error.code === oauth.PARSE_ERROR && error.message.includes('body as JSON')
}

/** OpenID Connect Core Error Code `unmet_authentication_requirements`: the provider says so by itself. */
function refusedByProvider(error: oauth.AuthorizationResponseError): LoginRefused {
  const reason = `provider: ${printable(error.error)}`
  return error.error === 'unmet_authentication_requirements' ? new RequirementsUnmet(reason, error) : new LoginRefused(reason, error)
}

/** RFC 6749 §4.1.2.1 allows few characters in error codes; this one came with a browser, or from elsewhere. */
function printable(code: string): string {
  return /^[\x20-\x7e]{1,80}$/.test(code) ? code : 'an error that is no error code'
}
