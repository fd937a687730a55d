// Two browser engines behind one small interface: `openPage(url)` gives a page with `evaluate` and `close`.
//
// Two drivers, because each lacks one engine as distributions package it: Playwright drives only a Firefox that it has patched and
// downloads itself, Puppeteer drives a released Firefox (by WebDriver BiDi). Chromium is Playwright's, whose pages wait and emulate
// more than Puppeteer's (the demo page's tests use both).

import { chromium } from 'playwright-core';
import puppeteer from 'puppeteer-core';

import { PulseAudio } from './pulseaudio.js';

/** The program. */
export const CHROMIUM = process.env.CHROMIUM_BIN ?? '/usr/bin/chromium';
const FIREFOX = process.env.FIREFOX_BIN ?? '/usr/bin/firefox-esr';

const CHROMIUM_ARGS = [
  '--no-sandbox',
  '--use-fake-ui-for-media-stream',
  '--use-fake-device-for-media-stream=fps=30',
  '--autoplay-policy=no-user-gesture-required',
  '--disable-dev-shm-usage',
  // TURN over TLS with a certificate that a test has made.
  '--ignore-certificate-errors',
];

const FIREFOX_PREFS = {
  'media.navigator.streams.fake': true,
  'media.navigator.permission.disabled': true,
  'media.peerconnection.ice.loopback': true,
  'media.peerconnection.ice.obfuscate_host_addresses': false,
  'media.autoplay.default': 0,
  'media.autoplay.block-webaudio': false,
  'media.gmp-manager.updateEnabled': false,
};

/** Chromium with a fake camera and microphone. */
export class Chromium {
  /** `executablePath` may be a program that runs it elsewhere; `args` are more flags. */
  static async launch({ executablePath = CHROMIUM, args = [] } = {}) {
    const chromiumBrowser = new Chromium();
    chromiumBrowser.browser = await chromium.launch({ executablePath, headless: true, args: [...CHROMIUM_ARGS, ...args] });
    return chromiumBrowser;
  }

  /** A page in a context of its own; `log` gets what it writes to its console. */
  async openPage(url, log = () => {}, options = {}) {
    const context = await this.browser.newContext(options);
    const page = await context.newPage();
    page.on('console', (message) => log(`${message.type()} ${message.text()}`));
    page.on('pageerror', (error) => log(`uncaught ${error.stack ?? error}`));
    await page.goto(url);
    return { page, evaluate: (body, argument) => page.evaluate(body, argument), close: () => context.close() };
  }

  close() {
    return this.browser.close();
  }
}

/** Firefox with a fake camera and microphone. */
export class Firefox {
  static async launch() {
    const firefox = new Firefox();
    firefox.sound = await PulseAudio.start();
    const settings = { browser: 'firefox', executablePath: FIREFOX, headless: true, extraPrefsFirefox: FIREFOX_PREFS };
    try {
      firefox.browser = await puppeteer.launch({ ...settings, env: { ...process.env, ...firefox.sound.env } });
    } catch (error) {
      await firefox.sound.stop();
      throw error;
    }
    return firefox;
  }

  /** A page in a context of its own; `log` gets what it writes to its console. */
  async openPage(url, log = () => {}) {
    const context = await this.browser.createBrowserContext();
    const page = await context.newPage();
    page.on('console', (message) => log(`${message.type()} ${message.text()}`));
    page.on('pageerror', (error) => log(`uncaught ${error.stack ?? error}`));
    await page.goto(url);
    return { page, evaluate: (body, argument) => page.evaluate(body, argument), close: () => context.close() };
  }

  async close() {
    try {
      await this.browser.close();
    } finally {
      await this.sound.stop();
    }
  }
}
