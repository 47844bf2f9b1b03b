#!/bin/sh
# A job of GitHub Actions (permissions: id-token: write): prints an access token for the MCP server. It has no secret; its
# platform says who it is, to the gateway and to nobody else.
set -eu
ISSUER=${1:?the gateway, https://lanyard.example.com}
RESOURCE=${2:?the MCP server, https://lanyard.example.com/mcp/notes}
JWT=$(curl -fsS -H "Authorization: Bearer $ACTIONS_ID_TOKEN_REQUEST_TOKEN" "$ACTIONS_ID_TOKEN_REQUEST_URL&audience=$ISSUER" | sed -n 's/.*"value" *: *"\([^"]*\)".*/\1/p')
curl -fsS "$ISSUER/token" \
  --data-urlencode grant_type=urn:ietf:params:oauth:grant-type:jwt-bearer \
  --data-urlencode client_id=deploy \
  --data-urlencode "assertion=$JWT" \
  --data-urlencode "resource=$RESOURCE" | sed -n 's/.*"access_token" *: *"\([^"]*\)".*/\1/p'
