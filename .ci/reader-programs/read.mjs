// Node.js's readers of gzip and Zstandard, its own and those that are installed. Prints a row of tab-separated cells for each.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import zlib from 'node:zlib';

const [folder, modules] = process.argv.slice(2);

async function row(name, version, suffix, read) {
  const wrong = [];
  const files = fs.readdirSync(folder).filter((file) => file.endsWith(`.${suffix}`));
  files.sort((a, b) => parseInt(a) - parseInt(b));
  for (const file of files.map((file) => path.join(folder, file))) {
    const content = fs.readFileSync(`${file}.plain`);
    let found, said;
    try {
      found = Buffer.from(await read(file));
      said = content.length && !found.length ? 'empty' : `${found.length} of ${content.length} bytes`;
    } catch (error) {
      said = String(error).slice(0, 60);
    }
    if (!found?.equals(content)) wrong.push(`${fs.statSync(file).size} bytes compressed: ${said}`);
  }
  console.log(['Node.js', name, version, suffix, ...wrong].join('\t'));
}

const whole = (decompress) => (file) => decompress(fs.readFileSync(file));
const stream = (make) => async (file) => {
  const pieces = [];
  const sink = new Writable({ write(piece, _, done) { pieces.push(piece); done(); } });
  await pipeline(fs.createReadStream(file), make(), sink);
  return Buffer.concat(pieces);
};

await row('zlib gunzipSync', process.version, 'gz', whole(zlib.gunzipSync));
await row('zlib createGunzip', process.version, 'gz', stream(zlib.createGunzip));
const web = async (file) => {
  const body = new Blob([fs.readFileSync(file)]).stream().pipeThrough(new DecompressionStream('gzip'));
  return new Response(body).arrayBuffer();
};
await row('DecompressionStream', process.version, 'gz', web);
if (zlib.zstdDecompressSync) {
  await row('zlib zstdDecompressSync', process.version, 'zst', whole(zlib.zstdDecompressSync));
  await row('zlib createZstdDecompress', process.version, 'zst', stream(zlib.createZstdDecompress));
}

if (modules) {
  const require = createRequire(path.join(modules, 'x.js'));
  const version = (name) => JSON.parse(fs.readFileSync(path.join(modules, name, 'package.json'))).version;
  const load = async (name) => { try { return require(name); } catch { return import(require.resolve(name)); } };
  const fzstd = await load('fzstd');
  await row('fzstd decompress', version('fzstd'), 'zst', whole(fzstd.decompress));
  const fflate = await load('fflate');
  await row('fflate gunzipSync', version('fflate'), 'gz', whole(fflate.gunzipSync));
  const pako = await load('pako');
  await row('pako ungzip', version('pako'), 'gz', whole((pako.default ?? pako).ungzip));
  const { ZSTDDecoder } = await load('zstddec');
  const decoder = new ZSTDDecoder();
  await decoder.init();
  await row('zstddec decode', version('zstddec'), 'zst', whole((bytes) => decoder.decode(bytes)));
}
