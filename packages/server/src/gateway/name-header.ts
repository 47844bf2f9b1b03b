/** SEP-2243: the value of `Mcp-Name`: the name as it is, where a header can carry it and nothing else can be read in it. */
export function nameHeader(name: string): string {
  const isPlain = /^[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?$/.test(name) && !/^=\?base64\?.*\?=$/i.test(name)
  return isPlain ? name : `=?base64?${Buffer.from(name, 'utf8').toString('base64')}?=`
}
