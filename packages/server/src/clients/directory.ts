// Pinned copies of the metadata documents of well-known clients: some of their hosts refuse to be fetched from data
// centres. A copy stands for its exact address alone, and only while the address itself does not answer.

const PUBLIC = { grant_types: ['authorization_code', 'refresh_token'], response_types: ['code'], token_endpoint_auth_method: 'none' }

const DOCUMENTS: Readonly<Record<string, Readonly<Record<string, unknown>>>> = {
  'https://claude.ai/oauth/claude-code-client-metadata': {
    client_name: 'Claude Code',
    redirect_uris: ['http://localhost/callback', 'http://127.0.0.1/callback'],
    ...PUBLIC,
  },
  'https://claude.ai/oauth/mcp-oauth-client-metadata': {
    client_name: 'Claude',
    redirect_uris: ['https://claude.ai/api/mcp/auth_callback', 'https://claude.com/api/mcp/auth_callback'],
    ...PUBLIC,
  },
  'https://chatgpt.com/oauth/client.json': {
    client_name: 'ChatGPT',
    redirect_uris: ['https://chatgpt.com/connector_platform_oauth_redirect'],
    grant_types: ['authorization_code', 'refresh_token'],
    token_endpoint_auth_method: 'private_key_jwt',
    token_endpoint_auth_methods_supported: ['none', 'private_key_jwt'],
    jwks_uri: 'https://chatgpt.com/oauth/jwks.json',
  },
  'https://chatgpt.com/oauth/codex/client.json': { client_name: 'Codex', redirect_uris: ['http://127.0.0.1/callback'], ...PUBLIC },
  'https://vscode.dev/oauth/client-metadata.json': {
    client_name: 'Visual Studio Code',
    redirect_uris: ['http://127.0.0.1:33418/', 'http://127.0.0.1:33418', 'https://vscode.dev/redirect', 'https://insiders.vscode.dev/redirect'],
    ...PUBLIC,
  },
  'https://cursor.com/oauth/mcp-client.json': {
    client_name: 'Cursor',
    redirect_uris: ['http://localhost:8787/callback', 'https://www.cursor.com/agents/mcp/oauth/callback', 'cursor://anysphere.cursor-mcp/oauth/callback'],
    ...PUBLIC,
  },
  'https://zed.dev/oauth/client-metadata.json': { client_name: 'Zed', redirect_uris: ['http://127.0.0.1/callback'], ...PUBLIC },
  'https://v0.app/api/chat/integrations/oauth/client-metadata.json': {
    client_name: 'v0',
    redirect_uris: ['https://api.v0.dev/v1/mcp-servers/oauth/callback'],
    ...PUBLIC,
  },
}

export function pinnedDocument(clientId: string): Readonly<Record<string, unknown>> | undefined {
  const document = Object.hasOwn(DOCUMENTS, clientId) ? DOCUMENTS[clientId] : undefined
  return document === undefined ? undefined : { client_id: clientId, ...document }
}

/** The applications that the built-in directory knows. */
export function directoryEntries(): readonly { readonly id: string; readonly name: string; readonly voucher: string }[] {
  return Object.entries(DOCUMENTS).map(([id, document]) => ({ id, name: String(document['client_name']), voucher: `verified: ${new URL(id).host}` }))
}
