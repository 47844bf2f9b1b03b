// The words that several parts of the configuration's schema are made of.
import * as z from 'zod'

export const id = z.string().regex(/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/, 'use lower-case letters, digits and hyphens')
export const secret = z.string().min(1, 'must not be empty')
export const httpUrl = z.url({ protocol: /^https?$/, error: 'must be an http or https URL' })
export const mcpScope = z.string().regex(/^mcp\.(?:[a-z0-9-]+\.)?(?:read|write)$/, 'must be mcp.read, mcp.write, mcp.{upstream}.read or mcp.{upstream}.write')
export const patterns = z.array(z.string().min(1)).min(1, 'leave it out for all, or name at least one')
export const publicKey = z.record(z.string(), z.unknown()).refine((key) => !('d' in key || 'k' in key), 'is a private or shared key: the public half alone belongs here')
