// Certificates for tests: made with openssl, and what a server shows.

import { execFileSync } from 'node:child_process';
import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { connect } from 'node:tls';

/** Writes a new certificate for 127.0.0.1, signed by itself, into `cert.pem` and `key.pem` of a folder. */
export function makeCertificate(folder) {
  const [cert, key] = ['cert.pem', 'key.pem'].map((name) => join(folder, name));
  const subject = ['-subj', '/CN=hearth test', '-addext', 'subjectAltName=IP:127.0.0.1', '-addext', 'basicConstraints=critical,CA:FALSE', '-days', '30'];
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  execFileSync('openssl', ['req', '-x509', ...kind, ...subject, '-keyout', `${key}.new`, '-out', `${cert}.new`], { stdio: 'pipe' });
  for (const path of [key, cert]) renameSync(`${path}.new`, path);
  return { cert, key };
}

/** The hash of a certificate's key by which Chromium can be told to accept what it signed. */
export function spkiHash(path) {
  const key = new X509Certificate(readFileSync(path)).publicKey.export({ type: 'spki', format: 'der' });
  return createHash('sha256').update(key).digest('base64');
}

/** The SHA-256 fingerprint of a certificate in a file. */
export function fingerprintOf(path) {
  return new X509Certificate(readFileSync(path)).fingerprint256;
}

/** The SHA-256 fingerprint of the certificate that a new connection gets. */
export function shownBy(port) {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, rejectUnauthorized: false, ALPNProtocols: ['http/1.1'] });
    socket.on('error', reject);
    socket.on('secureConnect', () => {
      resolve(socket.getPeerCertificate().fingerprint256);
      socket.destroy();
    });
  });
}
