// Runs a task by sharp, one pipeline per variant; prints the CPU milliseconds of the second time.
// With the argument "versions" it prints what it is made of instead.
import { readFileSync, writeFileSync } from 'node:fs'
import sharp from 'sharp'

sharp.concurrency(1)
sharp.cache(false)

async function run(task) {
  for (const [width, height] of task.sizes) {
    for (const format of task.formats) {
      const options = { quality: task.qualities[format], ...(format === 'avif' && { effort: task.effort }) }
      const data = await sharp(readFileSync(task.original)).resize(width, height)[format](options).toBuffer()
      if (task.output !== null) writeFileSync(`${task.output}/${width}x${height}.${format}`, data)
    }
  }
}

if (process.argv[2] === 'versions') {
  const { sharp: own, vips, mozjpeg, webp, aom } = sharp.versions
  console.log(`sharp ${own} (libvips ${vips}, mozjpeg ${mozjpeg}, libwebp ${webp}, libaom ${aom}), Node ${process.version}`)
} else {
  const task = JSON.parse(process.argv[2])
  await run(task)
  const start = process.cpuUsage()
  await run(task)
  const { user, system } = process.cpuUsage(start)
  console.log((user + system) / 1000)
}
