// Checks the HTTP APIs: that they answer, and that their documents make tools.
import type { Config } from '../config/load.ts'
import { upstreamSettings } from '../config/settings.ts'
import { loadTools, type ToolSet } from '../gateway/openapi/catalogue.ts'
import { DocumentError } from '../gateway/openapi/document.ts'
import type { Outbound } from '../http/outbound.ts'
import type { OpenApiSettings, Upstream } from '../upstreams/upstream.ts'
import { adviceFor, checkAuthorization, whyOf } from './check-reach.ts'
import { failed, ok, warning, type Finding } from './finding.ts'

export async function checkApis(config: Config, outbound: Outbound): Promise<readonly Finding[]> {
  const apis = upstreamSettings(config).filter(({ http }) => http !== undefined)
  return (await Promise.all(apis.map((upstream) => checkApi(upstream, outbound)))).flat()
}

async function checkApi(upstream: Upstream, outbound: Outbound): Promise<readonly Finding[]> {
  const { id, http, connector } = upstream
  const reached = await checkBase(`upstream ${id}`, upstream, outbound)
  return [
    reached,
    ...(connector.type === 'oauth' && reached.status !== 'failed' ? [await checkAuthorization(`upstream ${id}`, upstream, outbound)] : []),
    ...(http?.openApi === undefined ? [] : await checkDocument(`upstream ${id}`, http.openApi, outbound)),
  ]
}

/** The base alone says little: whether somebody is there. */
async function checkBase(check: string, { url }: Upstream, outbound: Outbound): Promise<Finding> {
  try {
    const { status } = await outbound.request(url, { provenance: 'configured' })
    return status >= 500 ? failed(check, `answers ${status}`, 'look at the API itself') : ok(check, `reached; its base answers ${status} without a credential`)
  } catch (error) {
    return failed(check, `${url} cannot be reached: ${whyOf(error)}`, adviceFor(error))
  }
}

async function checkDocument(check: string, settings: OpenApiSettings, outbound: Outbound): Promise<readonly Finding[]> {
  let set: ToolSet
  try {
    set = await loadTools(outbound, settings)
  } catch (error) {
    return [failed(check, `its OpenAPI document ${settings.document} cannot be used: ${error instanceof DocumentError ? error.message : whyOf(error)}`, 'mend the document, or take openapi out of its settings: its other calls need none')]
  }
  const { tools, leftOut } = set
  const made = tools.length === 0 ? warning(check, 'its OpenAPI document makes no tools', 'look at operations.include and operations.exclude') : ok(check, `its OpenAPI document makes ${tools.length} ${tools.length === 1 ? 'tool' : 'tools'}`)
  return [made, ...leftOut.map(({ operation, reason }) => warning(check, `no tool for ${operation}: ${reason}`))]
}
