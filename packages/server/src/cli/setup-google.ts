import { GROUPS_SCOPE } from '../identity/google/directory.ts'
import type { Guide, SetupFor, Step } from './setup-guide.ts'
import { redirectUri } from './setup-guide.ts'

export function googleGuide(at: SetupFor): Guide {
  return {
    title: `Sign-in by Google Workspace for ${at.issuer}`,
    steps: [client(at), groups(), ...delegations(at), ...control()],
    snippet: snippet(at),
    vendor: {
      name: 'Google',
      asks: [
        { asked: 'Brand verification', standing: 'not needed: an Internal client of your own' },
        { asked: 'Review of sensitive scopes', standing: 'not needed: Internal' },
        { asked: 'Restricted scopes', standing: 'no yearly assessment (CASA): Internal' },
        { asked: 'A hundred users while unverified', standing: 'does not apply: Internal' },
        { asked: 'Marketplace listing', standing: 'none: each company runs a gateway of its own' },
        { asked: 'Minimal scopes', standing: 'sign-in asks for openid, email and profile alone; each upstream has scopes of its own' },
      ],
    },
    page: 'docs/setup/google-workspace.md',
  }
}

function client(at: SetupFor): Step {
  const accounts = (at.config?.upstreams ?? []).filter(({ connector }) => connector.type === 'oauth' && connector.issuer === 'https://accounts.google.com').map(({ id }) => `${at.issuer}/connections/${id}/callback`)
  return {
    title: 'The OAuth client, in the Cloud console (Google has no command for it)',
    lines: ['Google Auth Platform > Audience: Internal.', 'Google Auth Platform > Clients > Create client: Web application, with these redirect URIs. Scopes: openid, email, profile.'],
    apply: { kind: 'values', text: [redirectUri(at), ...accounts].join('\n') },
  }
}

function groups(): Step {
  return {
    title: 'Groups: a service account with the role Groups Reader, which acts for nobody',
    lines: ['Then, in the Admin console: Account > Admin roles > Groups Reader > Assign service accounts.', `Without a role, delegate ${GROUPS_SCOPE} to it as below, and name an administrator under directory.`],
    apply: {
      kind: 'commands',
      text: ['gcloud services enable admin.googleapis.com iamcredentials.googleapis.com', 'gcloud iam service-accounts create lanyard-groups --display-name "Lanyard, groups"', '# elsewhere than on Google Cloud, a key:', 'gcloud iam service-accounts keys create groups-reader.json --iam-account lanyard-groups@$PROJECT.iam.gserviceaccount.com'].join('\n'),
    },
  }
}

/** One for each upstream that acts by delegation: the Admin console's list is client ID and scopes. */
function delegations({ config }: SetupFor): readonly Step[] {
  const upstreams = (config?.upstreams ?? []).flatMap(({ id, connector }) => (connector.type === 'google-delegation' ? [{ id, connector }] : []))
  if (upstreams.length === 0) return []
  const rows = upstreams.flatMap(({ id, connector: { serviceAccount, scopes } }) => [
    `${id}: ${serviceAccount.email}`,
    `  client ID  gcloud iam service-accounts describe ${serviceAccount.email} --format='value(oauth2ClientId)'`,
    `  scopes     ${scopes.join(',')}`,
  ])
  const keyless = upstreams.flatMap(({ connector: { serviceAccount } }) => ('key' in serviceAccount ? [] : [{ email: serviceAccount.email, member: memberOf(serviceAccount.workloadIdentity) }]))
  return [
    {
      title: 'Domain-wide delegation, in the Admin console',
      lines: ['Security > Access and data control > API controls > Manage domain-wide delegation > Add new: for each, the numeric client ID and exactly these scopes.'],
      apply: { kind: 'values', text: rows.join('\n') },
    },
    ...(keyless.length === 0 ? [] : [signing(keyless)]),
  ]
}

/** Who asks IAM to sign: the machine that this gateway runs on, or the gateway itself by its pool. */
function memberOf(identity: { readonly provider: string; readonly subject: string } | undefined): string {
  return identity === undefined ? 'serviceAccount:$MACHINE' : `principal://iam.googleapis.com/${identity.provider.replace(/\/providers\/.*$/, '')}/subject/${identity.subject}`
}

function signing(accounts: readonly { readonly email: string; readonly member: string }[]): Step {
  const asMachine = accounts.some(({ member }) => member.endsWith('$MACHINE'))
  return {
    title: 'Signing without a key',
    lines: asMachine ? ['MACHINE is the service account that this gateway runs as. outbound.allow needs 169.254.169.254/32: the metadata server.'] : ['The workload identity pool trusts this gateway: docs/setup/google-workspace.md has the steps.'],
    apply: { kind: 'commands', text: accounts.map(({ email, member }) => `gcloud iam service-accounts add-iam-policy-binding ${email} --member "${member}" --role roles/iam.serviceAccountTokenCreator`).join('\n') },
  }
}

function control(): readonly Step[] {
  return [{ title: "Administrators' controls", lines: ['Admin console > Security > Access and data control > API controls > App access control: mark the client as Trusted, or scopes that you restricted end in admin_policy_enforced.'] }]
}

function snippet({ id }: SetupFor): string {
  return [
    'identityProviders:',
    `  - id: ${id}`,
    '    type: google-workspace',
    '    clientId: 1234567890-abc.apps.googleusercontent.com',
    '    clientSecret: ${env:GOOGLE_CLIENT_SECRET}',
    '    domains: [example.com]                 # who is let in, by the claim hd',
    '    directory:',
    '      serviceAccount: { email: lanyard-groups@project.iam.gserviceaccount.com }   # or key: "${file:groups-reader.json}"',
  ].join('\n')
}
