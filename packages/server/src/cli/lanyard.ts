// Owns the command line: arguments in, exit code out. What a command does lives in the rooms it calls.
import { Argument, Command, CommanderError, InvalidArgumentError, Option } from 'commander'
import { ConfigError } from '../config/load.ts'
import { StartError } from '../main.ts'
import { admin } from './admin.ts'
import { WrongUsage } from './api-client.ts'
import { check } from './check.ts'
import { demo } from './demo.ts'
import { keysList, keysRevoke, keysRotate } from './keys.ts'
import { login } from './login.ts'
import { logout } from './logout.ts'
import { migrateStore } from './migrate.ts'
import { serve } from './serve.ts'
import { setup, SETUP_KINDS, SETUP_PARTS } from './setup.ts'
import { token } from './token.ts'
import { CommandFailed, onTerminal } from './command.ts'

const CONFIG: [string, string, string] = ['-c, --config <file>', 'configuration file', 'lanyard.yaml']
const ASSERTIONS: [string, string] = ['--assertions', 'the keys that sign ID-JAGs, in place of those of access tokens']
const FEDERATION = new Option('--federation', 'the keys that prove this gateway to Entra ID, in place of those of access tokens').conflicts('assertions')

function program(): Command {
  const lanyard = new Command('lanyard').description('One login, every approved MCP tool: the Lanyard gateway.').exitOverride().showHelpAfterError().enablePositionalOptions()
  lanyard.command('serve').description('run the gateway').option(...CONFIG).action(serve)
  lanyard
    .command('demo')
    .description('run the gateway with a demo company: an OpenID provider and two MCP servers')
    .option('-p, --port <port>', 'port of the gateway (default: 8080, or a free one)', parsePort)
    .action(demo)
  lanyard
    .command('check')
    .description('check the configuration, what it reaches, and the public metadata as a client sees it')
    .option(...CONFIG)
    .option('--send-notice', 'send a test notice to every webhook, and a mail, of the setting notices')
    .option('--json', 'print JSON')
    .action(check)
  lanyard.command('migrate').description('bring the store to the newest schema').option(...CONFIG).option('--json', 'print JSON').action(migrateStore)
  lanyard
    .command('login')
    .description('log in to a running gateway, by a code that is approved in a browser anywhere')
    .argument('[url]', 'the address of the gateway, or of one of its endpoints (default: LANYARD_URL, or the last one)')
    .option('--scope <scope>', 'what to ask for (default: what the gateway gives to begin with)')
    .option('--dpop', 'bind the tokens to a key that is made for it (default: where the gateway wants it)')
    .option('--json', 'print JSON')
    .action(login)
  lanyard
    .command('token')
    .description('print an access token of a login, for scripts')
    .option('--resource <url>', 'the endpoint that it is for (default: the last login)')
    .option('--proof <request...>', 'print the headers of one request: its method and its address')
    .option('--nonce <nonce>', 'what the gateway wants in the proof, as its last answer said in DPoP-Nonce')
    .option('--json', 'print JSON')
    .action(token)
  lanyard.command('logout').description('end a login at its gateway').argument('[url]', 'which (default: the last one)').option('--all', 'end all of them').option('--json', 'print JSON').action(logout)
  lanyard
    .command('setup')
    .description('print what an administrator applies at an identity provider, with the values of this gateway')
    .addArgument(new Argument('<provider>', 'the kind of provider').choices(SETUP_KINDS))
    .option(...CONFIG)
    .option('--issuer <url>', "the gateway's address (default: the configuration's)")
    .option('--id <id>', 'the identifier of the provider in the configuration')
    .addOption(new Option('--only <part>', 'print only what is to be applied as it is').choices(SETUP_PARTS))
    .option('--json', 'print JSON')
    .action(setup)
  const keys = lanyard.command('keys').description('signing keys')
  keys.command('list').description('list the signing keys').option(...CONFIG).option(...ASSERTIONS).addOption(FEDERATION).option('--json', 'print JSON').action(keysList)
  keys
    .command('rotate')
    .description('sign with the next key from now on; the present one stays valid until its tokens have ended')
    .option(...CONFIG)
    .option(...ASSERTIONS)
    .addOption(FEDERATION)
    .option('--force', 'do not wait until the next key has been published long enough')
    .option('--json', 'print JSON')
    .action(keysRotate)
  keys.command('revoke <kid>').description('end a key and every token that it signed, now').option(...CONFIG).option(...ASSERTIONS).addOption(FEDERATION).option('--json', 'print JSON').action(keysRevoke)
  // What there is to know of it, the gateway says.
  lanyard.command('admin').description('what the JSON API of a running gateway can do').argument('[command...]').helpOption(false).allowUnknownOption().passThroughOptions().action(admin)
  return lanyard
}

function parsePort(value: string): number {
  const port = Number(value)
  if (!Number.isInteger(port) || port < 1 || port > 65_535) throw new InvalidArgumentError('It must be a number from 1 to 65535.')
  return port
}

/** Exit codes: 0 done, 1 failed, 2 wrong usage or configuration. */
async function main(): Promise<void> {
  try {
    await program().parseAsync()
  } catch (error) {
    if (error instanceof CommanderError) {
      process.exitCode = error.exitCode === 0 ? 0 : 2
    } else if (error instanceof ConfigError || error instanceof WrongUsage) {
      console.error(onTerminal(error.message))
      process.exitCode = 2
    } else if (error instanceof CommandFailed || error instanceof StartError) {
      console.error(onTerminal(error.message))
      process.exitCode = error instanceof StartError && error.isConfiguration ? 2 : 1
    } else {
      throw error
    }
  }
}

await main()
