import type { EntraApp } from '../../../identity/entra/client.ts'

export interface EntraOboSettings {
  readonly type: 'entra-obo'
  /** The identity provider, and where its token endpoints are. */
  readonly provider: { readonly id: string; readonly authority: string }
  /** Of one resource. */
  readonly scopes: readonly string[]
  /** The app that acts on the person's behalf, and the scope of its own that people's tokens for it have; the app that they sign in to when absent. */
  readonly app?: EntraApp & { readonly scope: string }
}
