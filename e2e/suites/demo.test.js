// The demo page as two people use it: the lobby, a call, chat, mute, camera, leaving. Leaves screenshots in `out/`.

import assert from 'node:assert/strict';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, test } from 'node:test';

import { AccessToken } from 'livekit-server-sdk';

import { Chromium } from '../lib/browsers.js';
import { eventually } from '../lib/eventually.js';
import { API_KEY, API_SECRET } from '../lib/server.js';
import { OUT, fixture } from '../lib/fixture.js';
import { roomService, token } from '../lib/tokens.js';

const place = fixture({ roomShare: null });
const DESKTOP = { viewport: { width: 1280, height: 800 } };
const PHONE = { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true };

describe('The demo page', () => {
  test('two people meet, talk, chat and leave', { timeout: 120_000 }, async () => {
    await withVisitors(async (visit) => {
      const ada = await visit('Ada', 'fireside', DESKTOP);
      const ben = await visit('Ben', 'fireside', PHONE);
      await Promise.all([showsPictures(ada, 2), showsPictures(ben, 2)]);
      await ada.page.screenshot({ path: join(OUT, 'demo-call.png') });
      await ben.page.screenshot({ path: join(OUT, 'demo-phone.png') });

      await ada.button('mute').click();
      await eventually(() => ben.tile('Ada').getByTestId('tile-muted').isVisible(), { what: 'Ben sees that Ada is muted' });
      await ada.button('mute').click();
      await eventually(async () => !(await ben.tile('Ada').getByTestId('tile-muted').isVisible()), { what: 'Ben sees that Ada is not muted' });

      await ada.button('camera').click();
      await showsPictures(ben, 1);
      await ada.button('camera').click();
      await showsPictures(ben, 2);

      await says(ada, 'Is it warm enough?');
      await reads(ben, 'Is it warm enough?');
      await says(ben, 'Come closer to the fire.');
      await reads(ada, 'Come closer to the fire.');
      await ada.page.screenshot({ path: join(OUT, 'demo-chat.png') });

      await ben.button('leave').click();
      await ben.page.getByTestId('lobby').waitFor();
      await eventually(async () => (await ada.page.getByTestId('tile').count()) === 1, { what: 'Ada alone' });
      assert.deepEqual([...ada.errors, ...ben.errors], [], 'the pages threw errors');
    });
  });

  test('the keyboard alone is enough', { timeout: 60_000 }, async () => {
    const { page, close } = await (await place.browser(Chromium)).openPage(`http://localhost:${place.server.port}/?room=keys`);
    const focused = () => page.evaluate(() => document.activeElement?.dataset.testid);
    const walkTo = async (test) => {
      for (let steps = 0; (await focused()) !== test; steps++) {
        assert.ok(steps < 30, `Tab does not come to ${test}`);
        await page.keyboard.press('Tab');
      }
    };
    const muteSays = (words) => page.getByTestId('mute').and(page.getByLabel(words)).waitFor();
    try {
      await page.getByTestId('lobby').waitFor();
      await walkTo('name-input');
      await page.keyboard.type('Ada');
      await page.keyboard.press('Enter');
      await muteSays('Mute microphone');
      assert.equal(await focused(), 'mute', 'the keyboard is on the microphone after joining');
      await page.keyboard.press('Space');
      await muteSays('Turn on microphone');
      await walkTo('leave');
      await page.keyboard.press('Enter');
      await page.getByTestId('lobby').waitFor();
      assert.equal(await focused(), 'join', 'the keyboard is on Join after leaving');
    } finally {
      await close();
    }
  });

  test('a page for browsers and an answer for health checks stand at one address', { timeout: 30_000 }, async () => {
    const { http } = place.server;
    const page = await fetch(http, { headers: { accept: 'text/html,application/xhtml+xml' } });
    assert.match(page.headers.get('content-type'), /^text\/html/);
    assert.match(await page.text(), /<title>Hearth/);
    const health = await fetch(http);
    assert.equal(await health.text(), 'OK');
  });

  test('a reload keeps the room', { timeout: 60_000 }, async () => {
    await withVisitors(async (visit) => {
      const { page } = await visit('Ada', '', DESKTOP);
      const room = await page.getByTestId('room-name').textContent();
      assert.equal(new URL(page.url()).search, `?room=${room}`);
      await page.reload();
      await page.getByTestId('lobby').waitFor();
      assert.equal(await page.getByTestId('room-input').inputValue(), room);
    });
  });

  test('a reload keeps a token out of the address', { timeout: 60_000 }, async () => {
    const browser = await place.browser(Chromium);
    const { page, close } = await browser.openPage(`http://localhost:${place.server.port}/?token=${await token('ada', 'hut')}`);
    try {
      await page.getByTestId('join').click();
      await page.getByTestId('call').waitFor();
      assert.equal(new URL(page.url()).search, '?room=hut');
      await page.reload();
      await page.getByTestId('join').click();
      await page.getByTestId('call').waitFor();
      assert.equal(await page.getByTestId('room-name').textContent(), 'hut');
    } finally {
      await close();
    }
  });

  test('who cannot get in is told why, in the form', { timeout: 60_000 }, async () => {
    const keys = { apiKey: API_KEY, apiSecret: 'not the secret of this server' };
    const expired = new AccessToken(API_KEY, API_SECRET, { identity: 'ada', ttl: -600 });
    const refused = [
      ['not.a.token', /not a token/],
      [await expired.toJwt(), /has expired/],
      [await token('ada', 'fireside', {}, keys), /does not accept your token.*The server says: invalid authorization token.*signature is invalid/],
    ];
    for (const [pass, why] of refused) {
      const browser = await place.browser(Chromium);
      const { page, close } = await browser.openPage(`http://localhost:${place.server.port}/?token=${pass}`);
      try {
        await page.getByTestId('join').click();
        const problem = page.getByTestId('lobby').locator('form').getByTestId('problem');
        await eventually(async () => why.test(await problem.textContent()), { what: `the form says ${why}` });
        assert.ok(await problem.isVisible());
        assert.equal(await page.getByTestId('toast').count(), 0, 'the reason is said once');
        assert.equal(await page.getByTestId('call').count(), 0);
      } finally {
        await close();
      }
    }
  });

  test('who is thrown out is told so in the form', { timeout: 60_000 }, async () => {
    await withVisitors(async (visit) => {
      const { page } = await visit('Ada', 'closing', DESKTOP);
      await roomService(place.server).deleteRoom('closing');
      await page.getByTestId('lobby').waitFor();
      assert.equal(await page.getByTestId('problem').textContent(), 'The call was ended.');
      assert.equal(await page.getByTestId('toast').count(), 0, 'the reason is said once');
    });
  });
});

/** Runs `body` with a function that brings somebody into a room through the lobby; all pages are closed afterwards. */
async function withVisitors(body) {
  await mkdir(OUT, { recursive: true });
  const visitors = [];
  try {
    await body(async (name, room, options) => {
      const visitor = await enter(name, room, options);
      visitors.push(visitor);
      return visitor;
    });
  } catch (error) {
    for (const { name, page, log } of visitors) {
      await page.screenshot({ path: join(OUT, `demo-failed-${name}.png`) }).catch(() => {});
      error.message += `\n${name}'s page wrote:\n${log.slice(-15).join('\n')}`;
    }
    throw error;
  } finally {
    await Promise.allSettled(visitors.map(({ close }) => close()));
  }
}

async function enter(name, room, options) {
  const browser = await place.browser(Chromium);
  const log = [];
  const url = `http://localhost:${place.server.port}/?room=${room}`;
  const { page, close } = await browser.openPage(url, (line) => log.push(line), options);
  const visitor = {
    name,
    page,
    close,
    log,
    get errors() {
      return log.filter((line) => line.startsWith('uncaught'));
    },
    button: (test) => page.getByTestId(test),
    tile: (who) => page.getByTestId('tile').filter({ has: page.getByTestId('tile-name').getByText(who) }),
  };
  try {
    await page.getByTestId('name-input').fill(name);
    if (options === DESKTOP) await page.screenshot({ path: join(OUT, 'demo-lobby.png') });
    await page.getByTestId('join').click();
    await page.getByTestId('call').waitFor({ timeout: 15_000 });
  } catch (error) {
    await page.screenshot({ path: join(OUT, `demo-failed-${name}.png`) }).catch(() => {});
    await close();
    throw new Error(`${name} could not enter: ${error.message}\n${log.join('\n')}`, { cause: error });
  }
  return visitor;
}

/** Exactly `count` tiles show a picture that is not one flat colour. */
function showsPictures({ name, page }, count) {
  const look = () => page.getByTestId('tile').evaluateAll((tiles) => tiles.map((tile) => {
    const video = tile.querySelector('video');
    if (!tile.classList.contains('with-video') || !video?.videoWidth || video.readyState < 2) return 0;
    const context = new OffscreenCanvas(64, 36).getContext('2d');
    context.drawImage(video, 0, 0, 64, 36);
    const { data } = context.getImageData(0, 0, 64, 36);
    const green = Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 1]);
    const mean = green.reduce((sum, value) => sum + value, 0) / green.length;
    return Math.round(green.reduce((sum, value) => sum + (value - mean) ** 2, 0) / green.length);
  }));
  return eventually(async () => {
    const variances = await look();
    if (variances.filter((variance) => variance > 20).length === count) return true;
    throw new Error(`variances ${variances}`);
  }, { timeout: 25_000, what: `${name} sees ${count} pictures` });
}

async function says({ page }, text) {
  const input = page.getByTestId('chat-input');
  if (!(await input.isVisible())) await page.getByTestId('chat-toggle').click();
  await input.fill(text);
  await input.press('Enter');
}

async function reads({ page, name }, text) {
  const message = page.getByTestId('chat-message').filter({ hasText: text });
  const input = page.getByTestId('chat-input');
  if (!(await input.isVisible())) await page.getByTestId('chat-toggle').click();
  await eventually(async () => (await message.count()) === 1, { what: `${name} reads "${text}" once` });
}
