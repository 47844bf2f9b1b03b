// A host for client ID metadata documents, over https with a certificate that only the tests trust.
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { generate } from 'selfsigned'

export interface ClientDocumentHost {
  /** The address of the document, and so the client's identifier. */
  readonly clientId: string
  /** For the environment of the gateway: the certificate that it must trust. */
  readonly environment: Readonly<Record<string, string>>
  /** How often the document was fetched. */
  readonly fetched: () => number
  close(): Promise<void>
}

/** Hosts the document of a native application whose redirect URIs are those of the clients in these tests. */
export async function clientDocumentHost(): Promise<ClientDocumentHost> {
  const pems = await generate([{ name: 'commonName', value: '127.0.0.1' }], {
    algorithm: 'sha256',
    extensions: [
      { name: 'basicConstraints', cA: true },
      { name: 'subjectAltName', altNames: [{ type: 7, ip: '127.0.0.1' }] },
    ],
  })
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-certificate-'))
  const certificate = join(directory, 'certificate.pem')
  await writeFile(certificate, pems.cert)
  let clientId = ''
  let fetched = 0
  const server = createServer({ key: pems.private, cert: pems.cert }, (_request, response) => {
    fetched += 1
    const document = {
      client_id: clientId,
      client_name: 'Flow test by document',
      redirect_uris: ['http://127.0.0.1/callback', 'http://127.0.0.1/oauth/callback', 'http://localhost/oauth/callback'],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
      token_endpoint_auth_method: 'none',
      application_type: 'native',
    }
    response.writeHead(200, { 'content-type': 'application/json', 'cache-control': 'max-age=600' }).end(JSON.stringify(document))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  clientId = `https://127.0.0.1:${(server.address() as AddressInfo).port}/client.json`
  return {
    clientId,
    environment: { NODE_EXTRA_CA_CERTS: certificate },
    fetched: () => fetched,
    async close() {
      await new Promise((resolve) => {
        server.close(resolve)
        server.closeAllConnections()
      })
      await rm(directory, { recursive: true, force: true })
    },
  }
}
