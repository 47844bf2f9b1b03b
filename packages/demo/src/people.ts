export interface Person {
  readonly id: string
  readonly name: string
  readonly email: string
  readonly groups: readonly string[]
}

/** Everybody at the demo company. */
export const people: readonly Person[] = [
  { id: 'alice', name: 'Alice Andersson', email: 'alice@demo.example', groups: ['engineering'] },
  { id: 'bob', name: 'Bob Baker', email: 'bob@demo.example', groups: ['sales'] },
  { id: 'dana', name: 'Dana Diaz', email: 'dana@demo.example', groups: ['it-admins'] },
]

export function personById(id: string): Person | undefined {
  return people.find((person) => person.id === id)
}
