// The demo company's OpenID provider, as a process of its own: node identity-provider.ts CALLBACK CLIENT_SECRET
import { announce } from './process.ts'
import { startProvider } from './provider.ts'

const [callback = '', clientSecret = ''] = process.argv.slice(2)
const provider = await startProvider({
  name: 'Demo Company',
  port: Number(process.env['PORT'] ?? 0),
  registration: false,
  clients: [
    {
      client_id: 'lanyard',
      client_secret: clientSecret,
      redirect_uris: [callback],
      grant_types: ['authorization_code', 'refresh_token'],
      response_types: ['code'],
    },
  ],
})
announce(provider.issuer)
