// A job that nobody sits in front of: it reads the notes and prints them. All that it is given is where the MCP server is,
// who it is, and its private key; the SDK finds the rest by itself.
import { readFileSync } from 'node:fs'
import { Client, PrivateKeyJwtProvider, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'

const [url = '', issuer = '', keyFile = ''] = process.argv.slice(2)

const authProvider = new PrivateKeyJwtProvider({ clientId: 'nightly-report', privateKey: readFileSync(keyFile, 'utf8'), algorithm: 'ES256', expectedIssuer: issuer })
const client = new Client({ name: 'nightly-report', version: '1.0.0' })
await client.connect(new StreamableHTTPClientTransport(new URL(url), { authProvider }))
const { tools } = await client.listTools()
console.log(`may use: ${tools.map(({ name }) => name).join(', ')}`)
const result = await client.callTool({ name: 'read_note', arguments: { title: 'welcome' } })
console.log(JSON.stringify(result.content))
await client.close()
