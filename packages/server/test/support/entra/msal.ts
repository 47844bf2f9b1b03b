// Microsoft's own library, whose requests to login.microsoftonline.com go to the emulator.
import { ConfidentialClientApplication, type Configuration } from '@azure/msal-node'
import { TENANT, type Entra } from './state.ts'

const AUTHORITY = 'https://login.microsoftonline.com'

export function msal(entra: Pick<Entra, 'origin'>, auth: Omit<Configuration['auth'], 'authority'> & { readonly tenant?: string }): ConfidentialClientApplication {
  const { tenant = TENANT, ...app } = auth
  const send = async (method: 'GET' | 'POST', url: string, options: { headers?: Record<string, string>; body?: string } = {}) => {
    const answer = await fetch(url.replace(AUTHORITY, entra.origin), { method, headers: options.headers ?? {}, ...(options.body === undefined ? {} : { body: options.body }), redirect: 'manual' })
    const text = (await answer.text()).replaceAll(entra.origin, AUTHORITY)
    return { headers: Object.fromEntries(answer.headers), body: JSON.parse(text), status: answer.status }
  }
  return new ConfidentialClientApplication({
    auth: { ...app, authority: `${AUTHORITY}/${tenant}` },
    system: { networkClient: { sendGetRequestAsync: (url, options) => send('GET', url, options), sendPostRequestAsync: (url, options) => send('POST', url, options) } },
  })
}
