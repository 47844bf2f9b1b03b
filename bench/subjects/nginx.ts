import { spawn, spawnSync } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { complaintsOf, stop, untilAnswers } from '../program.ts'
import { freePort } from '../../packages/server/test/support/ports.ts'
import type { Subject } from './subject.ts'

/** The floor of all: Debian's nginx as a streaming proxy with one worker. @returns undefined when it is not installed */
export async function startNginx(upstream: string): Promise<Subject | undefined> {
  const program = findNginx()
  if (program === undefined) return undefined
  const directory = await mkdtemp(join(tmpdir(), 'lanyard-bench-nginx-'))
  const port = await freePort()
  const file = join(directory, 'nginx.conf')
  await writeFile(file, configuration(directory, port, upstream))
  const child = spawn(program, ['-c', file, '-p', directory, '-e', join(directory, 'error.log')], { stdio: ['ignore', 'ignore', 'pipe'] })
  const complaint = complaintsOf(child)
  const close = async (): Promise<void> => {
    await stop(child)
    await rm(directory, { recursive: true, force: true })
  }
  await untilAnswers(`http://127.0.0.1:${port}/ready`, child).catch(async (error: unknown) => {
    await close()
    throw new Error(`nginx did not start: ${complaint()}`, { cause: error })
  })
  return { name: 'nginx', url: `http://127.0.0.1:${port}/open/mcp`, pid: child.pid ?? 0, close }
}

export function findNginx(): string | undefined {
  const candidates = [process.env['NGINX'], ...(process.env['PATH'] ?? '').split(':').map((folder) => join(folder, 'nginx')), '/usr/sbin/nginx']
  return candidates.find((file) => file !== undefined && existsSync(file) && spawnSync(file, ['-v'], { stdio: 'ignore' }).status === 0)
}

function configuration(directory: string, port: number, upstream: string): string {
  const temporary = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `  ${kind}_temp_path ${directory}/${kind};`).join('\n')
  return `${process.getuid?.() === 0 ? 'user root;\n' : ''}daemon off;
worker_processes 1;
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 1024; }
http {
${temporary}
  access_log off;
  keepalive_requests 1000000000;
  upstream echo { server ${new URL(upstream).host}; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen 127.0.0.1:${port};
    location = /ready { return 200; }
    location / {
      proxy_pass http://echo;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }
  }
}
`
}
