// Makes the pictures of the demo page in docs/: `npm run pictures`.

import { mkdir } from 'node:fs/promises';
import { fileURLToPath } from 'node:url';

import { Chromium } from '../lib/browsers.js';
import { eventually } from '../lib/eventually.js';
import { Server } from '../lib/server.js';
import { fakeCamera } from './fake-camera.js';

const DOCS = fileURLToPath(new URL('../../docs/', import.meta.url));
const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };
const BOOKS = ['#b4553f', '#d9a441', '#51796f', '#37506b', '#8c5a7a', '#c9c2b2', '#6b7a3f'];
const SUNNY = { wall: '#c9b79c', window: '#9fc4d8', lamp: '#f2c879' };
const GREEN = { wall: '#51685f', books: BOOKS, lamp: '#f0b060' };
const RED = { wall: '#a9655a', books: BOOKS.toReversed(), lamp: '#f7d9a0' };
const EVENING = { wall: '#44546e', window: '#e0a878', lamp: '#ffd08a' };
const PEOPLE = [
  { name: 'Ada', view: DESKTOP, ...SUNNY, skin: '#e8b899', hair: '#5b3423', shirt: '#37506b', long: true },
  { name: 'Ben', view: PHONE, ...GREEN, skin: '#8d5a3c', hair: '#201814', shirt: '#d08a3e', beard: true },
  { name: 'Chiyo', view: DESKTOP, ...RED, skin: '#f0cba8', hair: '#1d1b22', shirt: '#e9e2d5', bun: true, glasses: true, speaks: true },
  { name: 'Dmitri', view: DESKTOP, ...EVENING, skin: '#f2cdb4', hair: '#b06a33', shirt: '#7b3f4a' },
];

const server = await Server.start();
const browser = await Chromium.launch();
try {
  const [ada, ben, chiyo, dmitri] = await each(PEOPLE, enter);
  await Promise.all([ada, ben].map(showsEverybody));
  for (const quiet of [ben, dmitri]) await quiet.getByTestId('mute').click();
  await say(chiyo, 'Is it warm enough over there?');
  await say(dmitri, 'Come closer to the fire, the kettle is on.');
  await say(ada, 'On my way!');
  await ada.getByTestId('chat-toggle').click();
  await ada.mouse.move(0, 0);
  await eventually(async () => (await ada.getByTestId('toast').count()) === 0, { what: 'no notices' });
  await Promise.all([ada, ben].map(showsQuality));
  await ada.locator('.tile.speaking', { hasText: 'Chiyo' }).waitFor();
  await mkdir(DOCS, { recursive: true });
  await ada.screenshot({ path: `${DOCS}demo-call.png` });
  await ben.screenshot({ path: `${DOCS}demo-phone.png` });
} finally {
  await browser.close();
  await server.stop();
}

/** One after another, so that everybody's tiles stand in the same order. */
async function each(list, body) {
  const results = [];
  for (const item of list) results.push(await body(item));
  return results;
}

async function enter({ name, view, ...look }) {
  const context = await browser.browser.newContext(view);
  await context.addInitScript(fakeCamera, look);
  const page = await context.newPage();
  await page.goto(`http://localhost:${server.port}/?room=fireside`);
  await page.getByTestId('name-input').fill(name);
  await page.getByTestId('join').click();
  await page.getByTestId('call').waitFor();
  return page;
}

function showsEverybody(page) {
  const sharp = (tiles) => tiles.filter((tile) => tile.querySelector('video')?.videoWidth >= 320).length;
  return eventually(async () => (await page.getByTestId('tile').evaluateAll(sharp)) === PEOPLE.length, {
    timeout: 30_000,
    what: 'everybody in a good picture',
  });
}

function showsQuality(page) {
  const known = page.locator('.tile .quality:visible');
  return eventually(async () => (await known.count()) === PEOPLE.length, { what: 'the quality of every connection' });
}

async function say(page, text) {
  const input = page.getByTestId('chat-input');
  if (!(await input.isVisible())) await page.getByTestId('chat-toggle').click();
  await input.fill(text);
  await input.press('Enter');
}
