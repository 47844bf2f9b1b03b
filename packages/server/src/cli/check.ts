import { loadConfig } from '../config/load.ts'
import { outbound } from '../http/outbound.ts'
import { CommandFailed, print, type CommonOptions } from './command.ts'
import { checkKeys, checkStore } from './check-own.ts'
import { checkApis } from './check-apis.ts'
import { checkMachines } from './check-machines.ts'
import { checkForwardAuth } from './check-forward-auth.ts'
import { checkEntra } from './check-entra.ts'
import { checkGoogle } from './check-google.ts'
import { checkIdJags } from './check-id-jag.ts'
import { checkNotices } from './check-notices.ts'
import { checkProviders, checkUpstreams } from './check-reach.ts'
import { checkPublic } from './check-public.ts'
import { ok, warning, type Finding } from './finding.ts'

/** Checks an installation from the file to what a client sees; it reads only, and makes nothing that is missing. */
export async function check(options: CommonOptions & { readonly sendNotice?: boolean }): Promise<void> {
  const config = loadConfig(options.config)
  const sender = outbound({ allow: config.outbound.allow, discoveredLoopback: config.issuer.startsWith('http:') })
  // The issuer is asked as a client asks it, wherever it is.
  const client = outbound({ allow: ['0.0.0.0/0', '::/0'], discoveredLoopback: true })
  const findings: Finding[] = []
  const report = (...found: readonly Finding[]): void => {
    findings.push(...found)
    if (options.json !== true && found.length > 0) print(options, found, found.map(line))
  }
  try {
    report(ok('configuration', `${options.config} is valid`), ...config.notes.map((note) => warning('configuration', note)))
    report(...checkKeys(config))
    report(...(await checkStore(config)))
    report(...(await checkProviders(config, sender)))
    report(...(await checkUpstreams(config, sender)))
    report(...(await checkApis(config, sender)))
    report(...(await checkMachines(config, sender)))
    report(...(await checkGoogle(config, sender)))
    report(...(await checkEntra(config, sender)))
    report(...(await checkIdJags(config, sender)))
    report(...checkForwardAuth(config))
    report(...(await checkNotices(config, sender, options.sendNotice === true)))
    report(...(await checkPublic(config, client)))
  } finally {
    await Promise.all([sender.close(), client.close()])
  }
  if (options.json === true) print(options, findings, [])
  const failed = findings.filter((finding) => finding.status === 'failed').length
  if (failed > 0) throw new CommandFailed(`${failed} of ${findings.length} checks failed`)
}

function line({ status, check, message, next }: Finding): string {
  return `${status.padEnd(8)} ${check}: ${message}${next === undefined ? '' : `\n         -> ${next}`}`
}
