// A STUN server (RFC 8489): tells everybody the address that it sees. Usage: node stun-server.js <address> [port]

import { createSocket } from 'node:dgram';

const [address, port = '3478'] = process.argv.slice(2);
const COOKIE = 0x2112a442;

const socket = createSocket('udp4').bind(Number(port), address);
socket.on('message', (message, { address: from, port: fromPort }) => {
  if (message.length < 20 || message.readUInt16BE(0) !== 1 || message.readUInt32BE(4) !== COOKIE) return;
  const answer = Buffer.alloc(32);
  answer.writeUInt16BE(0x0101, 0);
  answer.writeUInt16BE(12, 2);
  message.copy(answer, 4, 4, 20);
  answer.writeUInt16BE(0x0020, 20);
  answer.writeUInt16BE(8, 22);
  answer.writeUInt16BE(1, 24);
  answer.writeUInt16BE(fromPort ^ (COOKIE >>> 16), 26);
  const ip = from.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0);
  answer.writeUInt32BE((ip ^ COOKIE) >>> 0, 28);
  socket.send(answer, fromPort, from);
});
