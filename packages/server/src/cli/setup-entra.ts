import { createHash } from 'node:crypto'
import type { Guide, SetupFor, Step } from './setup-guide.ts'
import { redirectUri } from './setup-guide.ts'

const GRAPH = '00000003-0000-0000-c000-000000000000'
/** Delegated permissions of Graph, by the identifiers that are the same in every tenant. */
const SIGN_IN = [
  ['openid', '37f7f235-527c-4136-accd-4a02d197296e'],
  ['profile', '14dad69e-099b-42c9-810b-d002981feec1'],
  ['email', '64a6cdd6-aab1-4aaf-94b8-3cc8405e90d0'],
  ['offline_access', '7427e0e9-2fba-42fe-b0c0-848c9e6a8182'],
  ['User.Read', 'e1fe6dd8-ba31-4d61-89e7-88639da4683d'],
] as const
/** Without them a sign-in says neither when it was, nor whether an address is the tenant's. */
const OPTIONAL_CLAIMS = ['auth_time', 'email', 'xms_edov'] as const
const AUDIENCE = 'api://AzureADTokenExchange'

interface Role {
  readonly id: string
  readonly value: string
  readonly displayName: string
}

export function entraGuide(at: SetupFor): Guide {
  return {
    title: `Sign-in by Microsoft Entra ID for ${at.issuer}`,
    steps: [
      { title: 'The app registration, by Terraform', lines: ['hashicorp/azuread, as an Application Administrator.'], apply: { kind: 'terraform', text: terraform(at) } },
      { title: 'The same by the Azure CLI, instead', lines: ['In a shell that is signed in with az login.'], apply: { kind: 'commands', text: commands(at) } },
      { title: 'What the app registration is, as a manifest of Graph', lines: ['For the step above; in the portal, App registrations > (the app) > Manifest.'], apply: { kind: 'values', text: JSON.stringify(manifest(at), undefined, 2) } },
      ...proof(at),
      {
        title: 'Who signs in, and with which role',
        lines: [
          'Enterprise applications > Lanyard > Properties: Assignment required: Yes. Whoever is not assigned is turned away by Entra ID (AADSTS50105).',
          'Enterprise applications > Lanyard > Users and groups > Add: groups, each with a role. Roles come in every token, however many groups somebody is in.',
          'Enterprise applications > Lanyard > Permissions > Grant admin consent.',
        ],
      },
      ...upstreams(at),
      {
        title: 'People in more than 200 groups',
        lines: [
          'Entra ID then says in the token that it does not say. Lanyard asks Graph with the token of the sign-in (User.Read suffices): nothing to do.',
          'With groupOverage: application it asks as the app, which needs the application permissions User.ReadBasic.All and GroupMember.Read.All, with admin consent.',
          'Tokens that applications present in place of Lanyard’s own (acceptTokens), or exchange, need the latter where they are for another API than this app.',
        ],
      },
    ],
    snippet: snippet(at),
    vendor: {
      name: 'the Microsoft Entra gallery',
      asks: [
        { asked: 'New requests for single sign-on or provisioning', standing: 'not taken at present (Secure Future Initiative); an app of your own needs no listing' },
        { asked: 'A multi-tenant OpenID Connect app of the vendor, or SAML', standing: 'no: each company registers an app of its own for its own gateway. Several tenants of one company: yes (tenants). SAML: not in this version' },
        { asked: 'Publisher verification', standing: "does not apply to an app of one's own tenant" },
        { asked: 'At least one app role', standing: 'yes: the roles above' },
        { asked: 'No public clients', standing: 'yes: certificate, federated credential or secret' },
        { asked: 'Certificates instead of secrets', standing: 'yes: PS256 with x5t#S256, or no secret at all by a federated credential' },
        { asked: 'Delegated permissions, as few as possible', standing: 'yes: User.Read, and what each upstream names' },
        { asked: 'Claims challenges and continuous access evaluation', standing: 'yes: cp1 is declared, and what is demanded is asked of the person' },
        { asked: 'SCIM 2.0 with OAuth client credentials, 25 requests a second, the validator’s run', standing: 'not in this version: Entra ID is asked again every sessions.recheckMinutes, and a revoked or disabled account ends then' },
        { asked: 'Single logout', standing: 'not in this version (Entra ID has front-channel logout alone)' },
        { asked: 'A hundred mutual customers, five tenants of a preview', standing: "a vendor's who lists a service" },
      ],
    },
    page: 'docs/setup/entra-id.md',
  }
}

/** Roles are scopes of Lanyard: `scopeMapping` says so. */
function roles({ issuer, config }: SetupFor): readonly Role[] {
  const names = ['mcp.read', 'mcp.write', ...(config?.upstreams ?? []).flatMap(({ id }) => [`mcp.${id}.read`, `mcp.${id}.write`])]
  // The same each time that this is printed: a role that changes its identifier is another one.
  return names.map((value) => ({ id: guidOf(`${issuer} ${value}`), value, displayName: value }))
}

function guidOf(name: string): string {
  const bytes = createHash('sha256').update(name).digest().subarray(0, 16)
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x80
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return bytes.toString('hex').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5')
}

function manifest(at: SetupFor): object {
  return {
    displayName: 'Lanyard',
    signInAudience: 'AzureADMyOrg',
    groupMembershipClaims: 'SecurityGroup',
    web: { redirectUris: [redirectUri(at)], implicitGrantSettings: { enableIdTokenIssuance: false, enableAccessTokenIssuance: false } },
    api: { requestedAccessTokenVersion: 2 },
    optionalClaims: { idToken: OPTIONAL_CLAIMS.map((name) => ({ name, essential: false })) },
    appRoles: roles(at).map((role) => ({ ...role, description: `Scope ${role.value} of Lanyard`, allowedMemberTypes: ['User', 'Application'], isEnabled: true })),
    requiredResourceAccess: [{ resourceAppId: GRAPH, resourceAccess: SIGN_IN.map(([, id]) => ({ id, type: 'Scope' })) }],
  }
}

function commands(at: SetupFor): string {
  return [
    `lanyard setup entra-id --issuer ${at.issuer} --id ${at.id} --only values > manifest.json`,
    "az rest --method POST --url https://graph.microsoft.com/v1.0/applications --headers Content-Type=application/json --body @manifest.json --query '{clientId:appId}'",
    "APP_ID=$(az ad app list --display-name Lanyard --query '[0].appId' -o tsv)",
    'az ad sp create --id $APP_ID',
    'az ad sp update --id $APP_ID --set appRoleAssignmentRequired=true',
    'az ad app permission admin-consent --id $APP_ID',
  ].join('\n')
}

function proof({ issuer }: SetupFor): readonly Step[] {
  const credential = { name: 'lanyard', issuer, subject: 'lanyard', audiences: [AUDIENCE] }
  return [
    {
      title: 'How the app proves itself: a certificate',
      lines: ['The private key stays with the gateway. Two certificates may be there at once: add the next before the last one ends.'],
      apply: { kind: 'commands', text: ['openssl req -x509 -newkey rsa:2048 -nodes -days 365 -subj /CN=lanyard -keyout lanyard.key -out lanyard.crt', 'az ad app credential reset --id $APP_ID --cert @lanyard.crt --append'].join('\n') },
    },
    {
      title: 'Or no secret at all: a federated credential',
      lines: [
        `Entra ID fetches ${issuer}/.well-known/openid-configuration: the gateway must be reachable from the internet, by https.`,
        'Lanyard signs by RS256, as Microsoft asks, with keys for this alone: they are at /jwks as soon as the setting is there, and rotate by themselves.',
      ],
      apply: { kind: 'commands', text: `az ad app federated-credential create --id $APP_ID --parameters '${JSON.stringify(credential)}'` },
    },
  ]
}

/** Permissions for what upstreams need in people's names. */
function upstreams({ config }: SetupFor): readonly Step[] {
  const found = (config?.upstreams ?? []).flatMap(({ id, connector }) => (connector.type === 'entra-obo' ? [{ id, connector }] : []))
  if (found.length === 0) return []
  return [
    {
      title: 'Delegated permissions for the upstreams, with admin consent',
      lines: [
        'App registrations > (the app) > API permissions > Add a permission. An upstream with an app of its own needs them there, and Lanyard the scope of that app.',
        ...found.map(({ id, connector: { scopes, app } }) => `${id}: ${scopes.join(' ')}, of ${app === undefined ? 'Lanyard' : `${app.clientId}; and ${app.scope}, of Lanyard`}`),
      ],
    },
  ]
}

function snippet(at: SetupFor): string {
  const own = roles(at)
  return [
    'identityProviders:',
    `  - id: ${at.id}`,
    '    type: entra-id',
    '    tenant: 00000000-0000-0000-0000-000000000000    # Directory (tenant) ID',
    '    clientId: 00000000-0000-0000-0000-000000000000  # Application (client) ID',
    '    certificate:',
    '      certificate: ${file:/etc/lanyard/lanyard.crt}',
    '      privateKey: ${file:/etc/lanyard/lanyard.key}',
    '    # or, in place of the certificate: federatedCredential: { subject: lanyard }',
    'scopeMapping:',
    ...own.map(({ value }) => `  - { roles: [${value}], scopes: [${value}] }`),
  ].join('\n')
}

function terraform(at: SetupFor): string {
  const list = (names: readonly string[]): string => names.map((name) => `"${name}"`).join(', ')
  return `terraform {
  required_providers {
    azuread = { source = "hashicorp/azuread" }
  }
}

resource "azuread_application" "lanyard" {
  display_name            = "Lanyard"
  sign_in_audience        = "AzureADMyOrg"
  group_membership_claims = ["SecurityGroup"]

  web {
    redirect_uris = [${list([redirectUri(at)])}]
  }

  api {
    requested_access_token_version = 2
  }

  optional_claims {
${OPTIONAL_CLAIMS.map((name) => `    id_token {\n      name = "${name}"\n    }`).join('\n')}
  }

  required_resource_access {
    resource_app_id = "${GRAPH}"
${SIGN_IN.map(([name, id]) => `    resource_access { # ${name}\n      id   = "${id}"\n      type = "Scope"\n    }`).join('\n')}
  }

${roles(at).map(({ id, value }) => `  app_role {\n    id                   = "${id}"\n    value                = "${value}"\n    display_name         = "${value}"\n    description          = "Scope ${value} of Lanyard"\n    allowed_member_types = ["User", "Application"]\n  }`).join('\n')}
}

resource "azuread_service_principal" "lanyard" {
  client_id                    = azuread_application.lanyard.client_id
  app_role_assignment_required = true
}

resource "azuread_application_certificate" "lanyard" {
  application_id = azuread_application.lanyard.id
  type           = "AsymmetricX509Cert"
  encoding       = "pem"
  value          = file("lanyard.crt")
}

output "client_id" { value = azuread_application.lanyard.client_id }`
}
