import { DEVICE_CODE } from '../oauth/grant-type.ts'
import type { PreRegisteredClient } from './registry.ts'

/**
 * What `lanyard login` is at every gateway. It is a public client, as it runs on people's own computers: its identifier
 * proves nothing, and it may not have the JSON API unless an administrator configures a client of this identifier.
 */
export const COMMAND_LINE: PreRegisteredClient = {
  id: 'lanyard-cli',
  name: 'Lanyard command line',
  redirectUris: [],
  grantTypes: [DEVICE_CODE, 'refresh_token'],
  tokenEndpointAuthMethod: 'none',
  builtIn: true,
}
