import { DAYS, type TimeWindow } from './rule.ts'

const MINUTE_MS = 60_000
const DAY_MINUTES = 1440

interface LocalTime {
  /** From Monday, 0, to Sunday, 6. */
  readonly day: number
  /** Since midnight. */
  readonly minute: number
}

type Clock = (at: number) => LocalTime

const clocks = new Map<string, Clock>()

export function isTimeZone(name: string): boolean {
  try {
    // Numeric offsets are no names: they know nothing of summer time.
    return /^[A-Za-z]/.test(new Intl.DateTimeFormat('en-US', { timeZone: name }).resolvedOptions().timeZone)
  } catch {
    return false
  }
}

/** The clock on the wall in a time zone. @throws RangeError when there is no such zone */
function clockIn(timeZone: string): Clock {
  const known = clocks.get(timeZone)
  if (known !== undefined) return known
  const format = new Intl.DateTimeFormat('en-US', { timeZone, weekday: 'short', hour: '2-digit', minute: '2-digit', hourCycle: 'h23' })
  let [lastMinute, last]: [number | undefined, LocalTime] = [undefined, { day: 0, minute: 0 }]
  const clock: Clock = (at) => {
    const minute = Math.floor(at / MINUTE_MS)
    // Reading a zone's clock takes longer than the rest of a decision, and a minute has many of them.
    if (minute !== lastMinute) [lastMinute, last] = [minute, read(format, at)]
    return last
  }
  clocks.set(timeZone, clock)
  return clock
}

function read(format: Intl.DateTimeFormat, at: number): LocalTime {
  const parts = new Map(format.formatToParts(at).map(({ type, value }) => [type, value]))
  const day = DAYS.findIndex((name) => parts.get('weekday')?.toLowerCase() === name)
  return { day, minute: Number(parts.get('hour')) * 60 + Number(parts.get('minute')) }
}

/** Whether an instant lies in a window. A window over midnight belongs to the day that it begins on. */
export function inWindow({ timeZone, days, from, to }: TimeWindow): (at: number) => boolean {
  const clock = clockIn(timeZone)
  const wanted = new Set((days ?? DAYS).map((day) => DAYS.indexOf(day)))
  const [start, end] = [minuteOf(from ?? '00:00'), minuteOf(to ?? '24:00')]
  if (start < end) {
    return (at) => {
      const { day, minute } = clock(at)
      return minute >= start && minute < end && wanted.has(day)
    }
  }
  return (at) => {
    const { day, minute } = clock(at)
    return (minute >= start && wanted.has(day)) || (minute < end && wanted.has((day + 6) % 7))
  }
}

function minuteOf(time: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number)
  return Math.min(hours * 60 + minutes, DAY_MINUTES)
}
