import type { Guide, SetupFor } from './setup-guide.ts'
import { redirectUri } from './setup-guide.ts'

/** Each resource that Okta may let applications reach, at most as many as it takes. */
const MAX_RESOURCES = 20
const GROUPS = 'mcp-'

export function oktaGuide(at: SetupFor): Guide {
  return {
    title: `Sign-in by Okta for ${at.issuer}`,
    steps: [
      {
        title: 'The application, by Terraform',
        lines: ['okta/okta, with a token or key of an administrator. Assign the groups whose members may sign in.'],
        apply: { kind: 'terraform', text: terraform(at) },
      },
      {
        title: 'The same by the API, instead',
        lines: ['OKTA_TOKEN is an API token of an administrator. The answer has client_id and client_secret.'],
        apply: { kind: 'commands', text: command(at) },
      },
      {
        title: 'Groups',
        lines: [
          `Groups that begin with ${GROUPS} are told; more than a hundred matching groups of one person fail their sign-in.`,
          'At a custom authorization server: Security > API > (the server) > Claims > Add Claim: groups, ID Token, Always, the same filter.',
        ],
      },
      {
        title: 'Cross app access, where Okta decides which applications reach which',
        lines: ['Applications > (the application) > Manage connections, and idJag.trustedIssuers in the configuration (docs/id-jag.md).'],
        apply: { kind: 'values', text: crossAppValues(at) },
      },
    ],
    snippet: [
      'identityProviders:',
      `  - id: ${at.id}`,
      '    type: okta',
      '    issuer: https://example.okta.com        # without -admin and without a slash; or https://example.okta.com/oauth2/default',
      '    clientId: 0oa1...',
      '    clientSecret: ${env:OKTA_CLIENT_SECRET}',
    ].join('\n'),
    vendor: {
      name: 'the Okta Integration Network',
      asks: [
        { asked: "OpenID Connect with a client of each customer's own, the customer's domain as issuer", standing: 'yes' },
        { asked: 'Sign-in that begins at the service', standing: 'yes' },
        { asked: 'Sign-in that begins at the tile', standing: 'yes: /login reads iss, login_hint and target_link_uri' },
        { asked: 'Several tenants in one service', standing: "no: each company runs a gateway of its own" },
        { asked: 'SCIM 2.0', standing: 'not in this version' },
        { asked: 'Universal Logout', standing: 'not in this version: Okta is asked again every sessions.recheckMinutes' },
        { asked: 'Cross app access as a resource', standing: 'yes' },
        { asked: 'Public guide, test account, support contact, logo', standing: 'the guide is there; the others are a vendor\'s who lists a service' },
      ],
    },
    page: 'docs/setup/okta.md',
  }
}

function terraform(at: SetupFor): string {
  return `terraform {
  required_providers {
    okta = { source = "okta/okta" }
  }
}

resource "okta_app_oauth" "lanyard" {
  label                      = "Lanyard"
  type                       = "web"
  grant_types                = ["authorization_code", "refresh_token"]
  response_types             = ["code"]
  redirect_uris              = ["${redirectUri(at)}"]
  token_endpoint_auth_method = "client_secret_basic"
  pkce_required              = true
  consent_method             = "TRUSTED"
  login_uri                  = "${at.issuer}/login"
  refresh_token_rotation     = "ROTATE"
  refresh_token_leeway       = 30

  groups_claim {
    type        = "FILTER"
    filter_type = "STARTS_WITH"
    name        = "groups"
    value       = "${GROUPS}"
  }
}

output "client_id" { value = okta_app_oauth.lanyard.client_id }
output "client_secret" {
  value     = okta_app_oauth.lanyard.client_secret
  sensitive = true
}`
}

function command(at: SetupFor): string {
  const application = {
    name: 'oidc_client',
    label: 'Lanyard',
    signOnMode: 'OPENID_CONNECT',
    credentials: { oauthClient: { token_endpoint_auth_method: 'client_secret_basic', pkce_required: true } },
    settings: { oauthClient: { application_type: 'web', client_uri: at.issuer, redirect_uris: [redirectUri(at)], response_types: ['code'], grant_types: ['authorization_code', 'refresh_token'], consent_method: 'TRUSTED', refresh_token: { rotation_type: 'ROTATE', leeway: 30 }, initiate_login_uri: `${at.issuer}/login` } },
  }
  return `curl -sS https://example.okta.com/api/v1/apps -H "Authorization: SSWS $OKTA_TOKEN" -H 'Content-Type: application/json' -d '${JSON.stringify(application, undefined, 1)}'`
}

function crossAppValues({ issuer, config }: SetupFor): string {
  const names = config === undefined ? [] : [...config.profiles, ...config.upstreams.filter(({ type, openapi }) => type === 'mcp' || openapi !== undefined)].map(({ id }) => id)
  const resources = (names.length === 0 ? ['{profile}'] : names).slice(0, MAX_RESOURCES).map((name) => `${issuer}/mcp/${name}`)
  const left = names.length - MAX_RESOURCES
  return [
    `Issuer URL           ${issuer}`,
    'Audience tenant ID   off',
    ...resources.map((resource, index) => `${index === 0 ? 'Resource identifiers' : '                    '} ${resource}`),
    ...(left > 0 ? [`                     (Okta takes ${MAX_RESOURCES}: ${left} more are left out)`] : []),
    'Scopes               mcp.read mcp.write',
  ].join('\n')
}
