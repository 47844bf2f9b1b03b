// A certificate of an app registration: `selfsigned` makes it, the emulator is told of it as an administrator uploads it.
import { createPublicKey, X509Certificate, createHash } from 'node:crypto'
import { generate } from 'selfsigned'
import type { App } from './state.ts'

export interface AppCertificate {
  readonly certificate: string
  readonly privateKey: string
  readonly thumbprint: string
}

export async function addCertificate(app: App): Promise<AppCertificate> {
  const { cert, private: privateKey } = await generate([{ name: 'commonName', value: 'Lanyard' }], { keySize: 2048 })
  const thumbprint = createHash('sha256').update(new X509Certificate(cert).raw).digest('base64url')
  app.certificates.set(thumbprint, createPublicKey(cert))
  return { certificate: cert, privateKey, thumbprint }
}
