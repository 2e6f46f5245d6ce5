// As much of a WebSocket server (RFC 6455) as a provider needs, with Node's own modules. The package `ws` does it too.
import { createHash } from 'node:crypto';
import { createServer } from 'node:http';

const MAX_BYTES = 16 * 1024 * 1024;
const TEXT = 1, CLOSE = 8, PING = 9, PONG = 10;

// received(text, send) is called for every message. Resolves to the url once it listens; port 0 takes a free one.
export function serve(port, received) {
  const server = createServer((request, response) => response.writeHead(request.url === '/healthz' ? 200 : 404).end());
  server.on('upgrade', (request, socket) => {
    // A browser always says where its page comes from; no page may use this provider.
    if (request.headers.origin) return socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
    const key = `${request.headers['sec-websocket-key']}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`;
    const accept = createHash('sha1').update(key).digest('base64');
    socket.write(
      'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n' +
        `Sec-WebSocket-Accept: ${accept}\r\n\r\n`,
    );
    talk(socket, received);
  });
  return new Promise((resolve) => {
    server.listen(port, '127.0.0.1', () => resolve(`ws://127.0.0.1:${server.address().port}/`));
  });
}

function talk(socket, received) {
  let buffer = Buffer.alloc(0);
  let parts = []; // of a message that comes in several frames
  const send = (text) => socket.writable && socket.write(frame(TEXT, Buffer.from(text)));
  socket.setNoDelay(true);
  socket.on('error', () => socket.destroy());
  socket.on('data', (chunk) => {
    buffer = Buffer.concat([buffer, chunk]);
    for (let next; (next = unframe(buffer)); buffer = buffer.subarray(next.end)) {
      if (next.error) return socket.end(frame(CLOSE, Buffer.from([next.error >> 8, next.error & 255])));
      if (next.opcode === CLOSE) return socket.end(frame(CLOSE, next.payload.subarray(0, 2)));
      if (next.opcode === PING) socket.write(frame(PONG, next.payload));
      if (next.opcode > 2) continue;
      parts.push(next.payload);
      if (parts.reduce((sum, part) => sum + part.length, 0) > MAX_BYTES) return socket.destroy();
      if (!next.final) continue;
      received(Buffer.concat(parts).toString(), send);
      parts = [];
    }
  });
}

// The first whole frame in the buffer, or undefined if it has not arrived yet. What clients send is always masked.
function unframe(buffer) {
  if (buffer.length < 6) return undefined;
  let length = buffer[1] & 127, at = 2;
  if (!(buffer[1] & 128)) return { error: 1002 };
  if (length === 126) [length, at] = [buffer.readUInt16BE(2), 4];
  else if (length === 127) {
    if (buffer.length < 14) return undefined;
    [length, at] = [Number(buffer.readBigUInt64BE(2)), 10];
  }
  if (length > MAX_BYTES) return { error: 1009 };
  const end = at + 4 + length;
  if (buffer.length < end) return undefined;
  const mask = buffer.subarray(at, at + 4);
  const payload = Buffer.from(buffer.subarray(at + 4, end));
  for (let i = 0; i < length; i++) payload[i] ^= mask[i & 3];
  return { final: Boolean(buffer[0] & 128), opcode: buffer[0] & 15, payload, end };
}

function frame(opcode, payload) {
  const { length } = payload;
  const header = Buffer.alloc(length < 126 ? 2 : length < 65536 ? 4 : 10);
  header[0] = 128 | opcode;
  header[1] = length < 126 ? length : length < 65536 ? 126 : 127;
  if (header.length === 4) header.writeUInt16BE(length, 2);
  if (header.length === 10) header.writeBigUInt64BE(BigInt(length), 2);
  return Buffer.concat([header, payload]);
}
