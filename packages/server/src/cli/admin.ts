// Owns `lanyard admin`: what the JSON API of a running gateway can do, as commands. Which there are, the gateway says.
import { Command, InvalidArgumentError, Option } from 'commander'
import { parse, stringify } from 'yaml'
import { commandsOf, readDescription, type ApiCommand, type ApiOption } from './admin-commands.ts'
import { keptCredential, keptOrigin } from './admin-login.ts'
import { askApi, contentOf, gatewayUrl, givenToken, printable, WrongUsage, type ApiOptions } from './api-client.ts'
import { CommandFailed, print } from './command.ts'
import { bearer } from './credential.ts'

const ABOUT = `What the JSON API of a running gateway can do. The commands are those that the gateway offers; their help is
  lanyard admin --url https://lanyard.example.com --help

The access token is one of an administrator for {issuer}/api with the scope "admin": in LANYARD_TOKEN, or in a file.
It is sent to no other address, and goes over http on this machine alone. Without one, that of "lanyard login" is used,
where an administrator lets the command line have such a login.`

/** @param words everything behind `lanyard admin` */
export async function admin(words: readonly string[]): Promise<void> {
  const given = common(new Command('lanyard admin')).helpOption('-h, --help').allowUnknownOption().allowExcessArguments().exitOverride()
  const { operands, unknown } = given.parseOptions([...words])
  const options: ApiOptions = { ...(await keptOrigin()), ...given.opts<ApiOptions>() }
  const wantsHelp = unknown.some((word) => word === '-h' || word === '--help') || operands.length === 0
  if (wantsHelp && options.url === undefined) {
    console.log(program([]).helpInformation())
    return
  }
  const origin = gatewayUrl(options)
  const description = readDescription(await askApi(origin, { method: 'GET', path: '/api/openapi.json' }))
  if (description === undefined) throw new CommandFailed(`${origin} is no gateway, or one of another version: it does not describe its API.`)
  await program(commandsOf(description), origin).parseAsync([...words], { from: 'user' })
}

function common(command: Command): Command {
  return command.option('--url <url>', 'the gateway (default: LANYARD_URL)').option('--token-file <file>', 'file with the access token (default: LANYARD_TOKEN)').option('--json', 'print JSON')
}

/** @param origin where the commands are carried out */
function program(commands: readonly ApiCommand[], origin = ''): Command {
  const root = common(new Command('lanyard admin').description(ABOUT)).exitOverride().showHelpAfterError()
  for (const command of commands) {
    const [verb = '', ...above] = command.words.toReversed()
    const group = above.reduceRight(groupOf, root)
    group.addCommand(leaf(verb, command, { root, origin }).copyInheritedSettings(root))
  }
  return root
}

function groupOf(parent: Command, name: string): Command {
  const known = parent.commands.find((each) => each.name() === name)
  if (known !== undefined) return known
  return parent.command(name)
}

function leaf(name: string, described: ApiCommand, { root, origin }: { readonly root: Command; readonly origin: string }): Command {
  const command = common(new Command(name).description(printable(described.summary)))
  for (const argument of described.arguments) command.argument(`<${argument}>`)
  for (const option of described.options) command.addOption(optionOf(option))
  if (described.hasBody) command.option('--body <file>', 'the whole body as JSON or YAML, from a file or - for standard input; options change single members of it')
  return command.action(async () => {
    const values: Readonly<Record<string, unknown>> = command.opts()
    const options: ApiOptions = { ...root.opts<ApiOptions>(), ...command.opts<ApiOptions>() }
    const request = { method: described.method, path: addressOf(described, command.args, values), ...bodyOf(described, command, values) }
    const token = givenToken(options)
    const answer = await askApi(origin, { ...request, credential: token === undefined ? await keptCredential(origin) : bearer(token) })
    print(options, answer ?? {}, answer === undefined ? ['Done.'] : stringify(answer).trimEnd().split('\n').map(printable))
  })
}

function optionOf({ flag, kind, description, choices, required }: ApiOption): Option {
  const placeholder = { text: '<text>', texts: '<text...>', number: '<number>', boolean: '<true|false>', json: '<json>' }[kind]
  const option = new Option(`--${flag} ${placeholder}`, required ? [description, '(required)'].filter((part) => part !== '').join(' ') : description)
  if (choices !== undefined && kind === 'text') return option.choices(choices)
  if (kind === 'number') return option.argParser(numberOf)
  if (kind === 'boolean') return option.choices(['true', 'false'])
  return kind === 'json' ? option.argParser(valueOf) : option
}

function numberOf(text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value)) throw new InvalidArgumentError('It must be a number.')
  return value
}

function valueOf(text: string): unknown {
  try {
    return parse(text) as unknown
  } catch {
    throw new InvalidArgumentError('It must be JSON.')
  }
}

function given({ flag, kind }: ApiOption, values: Readonly<Record<string, unknown>>): unknown {
  const value = values[new Option(`--${flag}`).attributeName()]
  return kind === 'boolean' && value !== undefined ? value === 'true' : value
}

/** RFC 3986 §2.1: an identifier may be an address itself. */
function addressOf({ path, options, arguments: names }: ApiCommand, args: readonly string[], values: Readonly<Record<string, unknown>>): string {
  const filled = path.replaceAll(/\{(\w+)\}/g, (_whole, name: string) => {
    const value = args[names.indexOf(name)] ?? ''
    // These are steps of a path however they are encoded.
    if (value === '' || value === '.' || value === '..') throw new WrongUsage(`${name} cannot be "${value}".`)
    return encodeURIComponent(value)
  })
  const query = new URLSearchParams()
  for (const option of options) {
    const value = option.in === 'query' ? given(option, values) : undefined
    if (value !== undefined) query.set(option.name, typeof value === 'string' ? value : JSON.stringify(value))
  }
  return `/api${filled}${query.size === 0 ? '' : `?${query.toString()}`}`
}

function bodyOf({ options, hasBody }: ApiCommand, command: Command, values: Readonly<Record<string, unknown>>): { readonly body?: unknown } {
  if (!hasBody) return {}
  const file = values['body']
  const whole = typeof file === 'string' ? objectIn(file) : {}
  const members = options.filter((option) => option.in === 'body').map((option) => [option.name, given(option, values) ?? whole[option.name]] as const)
  const missing = options.filter(({ name, required }) => required && members.find(([known]) => known === name)?.[1] === undefined)
  if (missing.length > 0) command.error(`error: ${missing.map(({ flag }) => `--${flag}`).join(', ')} missing (or name a file with --body)`)
  return { body: { ...whole, ...Object.fromEntries(members.filter(([, value]) => value !== undefined)) } }
}

function objectIn(file: string): Readonly<Record<string, unknown>> {
  let value: unknown
  try {
    value = parse(contentOf(file))
  } catch (cause) {
    throw cause instanceof WrongUsage ? cause : new WrongUsage(`${file} is neither JSON nor YAML.`, { cause })
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new WrongUsage(`${file} must hold an object.`)
  return value as Readonly<Record<string, unknown>>
}
