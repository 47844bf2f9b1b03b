import type { ToolAnnotations } from '../../policy/rule.ts'

/** RFC 9110 §9.2.1 */
export function isSafe(method: string): boolean {
  return method === 'GET' || method === 'HEAD'
}

/** RFC 9110 §9.2. What a method does not rule out it may do: as with a tool that says nothing of itself. */
export function annotationsOf(method: string): ToolAnnotations {
  return { readOnly: isSafe(method), destructive: !isSafe(method), openWorld: true, idempotent: isSafe(method) || method === 'PUT' || method === 'DELETE' }
}
