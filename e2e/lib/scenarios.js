// Scenarios of two or three participants, whatever their clients.

import { hearsTone, receivedOnce, seesPicture } from './expect.js';

/**
 * Publishes audio of `hz` and video from `speaker` and waits until each of `viewers` sees and hears it.
 * `with` names the command that makes the picture.
 */
export async function presents(speaker, viewers, hz, { with: source = 'camera', publish = {}, ...wanted } = {}) {
  await speaker.call('tone', hz);
  await speaker.call(source, publish);
  await Promise.all(viewers.flatMap((viewer) => [
    seesPicture(viewer, speaker, wanted),
    hearsTone(viewer, speaker, hz),
  ]));
}

/**
 * `sender` sends reliable and lossy messages to everybody and one to `chosen` only. Each arrives once, `sender` gets none back.
 * The last message is sent when all others have arrived, so that one that came twice is seen.
 */
export async function exchanges(sender, chosen, others) {
  const everybody = [chosen, ...others];
  const texts = (label) => Array.from({ length: 10 }, (_, i) => `${label} ${i} from ${sender.identity}`);
  const [reliable, lossy] = [texts('reliable'), texts('lossy')];
  const secret = `for ${chosen.identity} from ${sender.identity}`;
  const last = `last from ${sender.identity}`;
  const wanted = (who) => [...reliable, ...lossy, ...(who === chosen ? [secret] : [])];

  for (const text of reliable) await sender.call('send', { text, reliable: true, topic: 'test' });
  for (const text of lossy) await sender.call('send', { text, reliable: false, topic: 'test' });
  await sender.call('send', { text: secret, to: [chosen.identity] });
  await Promise.all(everybody.map((who) => receivedOnce(who, sender, wanted(who))));
  await sender.call('send', { text: last });
  await Promise.all(everybody.map((who) => receivedOnce(who, sender, [...wanted(who), last])));
  await receivedOnce(sender, sender, []);
}
