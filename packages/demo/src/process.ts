/** Tells the parent process the address of this one, and ends with it. */
export function announce(url: string): void {
  if (process.send === undefined) {
    console.log(url)
    return
  }
  process.send({ url })
  process.on('disconnect', () => process.exit(0))
}
