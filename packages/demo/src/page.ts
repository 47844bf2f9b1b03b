import type { Person } from './people.ts'

/** The sign-in page of a demo provider: complete in itself, it loads nothing. */
export function signInPage(name: string, action: string, people: readonly Person[]): string {
  const buttons = people
    .map((person) => `<button name="login" value="${person.id}"><strong>${person.name}</strong><span>${person.groups.join(', ')}</span></button>`)
    .join('')
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Sign in · ${name}</title><style>
:root{color-scheme:light dark;font:16px/1.5 system-ui,sans-serif}
body{margin:0;min-height:100vh;display:grid;place-items:center;background:light-dark(#eef1f5,#14171c)}
main{width:min(24rem,calc(100vw - 3rem));padding:2rem;border-radius:.75rem;background:light-dark(#fff,#1e232b);box-shadow:0 1px 8px #0003}
h1{font-size:1.3rem;margin:0 0 .25rem}p{margin:0 0 1.25rem;opacity:.8}form{display:grid;gap:.6rem}
button{font:inherit;display:flex;justify-content:space-between;padding:.7rem 1rem;border:1px solid light-dark(#c3cad5,#3c4654);border-radius:.5rem;background:none;color:inherit;cursor:pointer}
button:hover,button:focus-visible{border-color:light-dark(#2457c5,#8ab0ff)}span{opacity:.75}
</style></head><body><main><h1>${name}</h1><p>A demo without passwords: who are you?</p>
<form method="post" action="${action}">${buttons}</form></main></body></html>`
}
