// Draws GIF variants of animations by sharp; prints bytes and CPU seconds of each as JSON.
import { readFileSync } from 'node:fs'
import sharp from 'sharp'

sharp.concurrency(1)
sharp.cache(false)

const results = []
for (const { path, width, height } of JSON.parse(process.argv[2])) {
  const start = process.cpuUsage()
  const drawn = sharp(readFileSync(path), { animated: true })
  const data = await (width ? drawn.resize(width, height, { fit: 'fill' }) : drawn).gif().toBuffer()
  const { user, system } = process.cpuUsage(start)
  results.push([data.length, (user + system) / 1e6])
}
console.log(JSON.stringify(results))
