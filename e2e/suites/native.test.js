// The native SDKs: Python and Node, with each other and with a browser.

import { describe } from 'node:test';

import { exchanges, presents } from '../lib/conversation.js';
import { hearsTone, isWith, noticed, seesPicture } from '../lib/notice.js';
import { studio } from '../lib/studio.js';

const place = studio();

describe('Native SDKs', () => {
  place.scene('Python and Chromium see and hear each other, and exchange data', async (room) => {
    const chrome = await room.chromium('chrome');
    const python = await room.python('python');
    await presents(python, [chrome], 440);
    await presents(chrome, [python], 660);
    await exchanges(python, chrome, []);
    await exchanges(chrome, python, []);
    await python.call('mute', 'audio');
    await noticed(chrome, 'muted', { identity: 'python', kind: 'audio' });
    await python.call('leave');
    await noticed(chrome, 'left', { identity: 'python' });
  });

  place.scene('Node and Python see and hear each other, and exchange data', async (room) => {
    const python = await room.python('python');
    const node = await room.node('node');
    await isWith(python, ['node']);
    await isWith(node, ['python']);
    await presents(python, [node], 440);
    await presents(node, [python], 660);
    await exchanges(python, node, []);
    await exchanges(node, python, []);
    await python.call('leave');
    await noticed(node, 'left', { identity: 'python' });
  });

  place.scene('Chromium, Node and Python in one room', async (room) => {
    const node = await room.node('node');
    await presents(node, [], 550);
    const python = await room.python('python');
    const chrome = await room.chromium('chrome');
    await Promise.all([python, chrome].flatMap((who) => [seesPicture(who, node), hearsTone(who, node, 550)]));
    await exchanges(chrome, node, [python]);
    await exchanges(node, python, [chrome]);
  });
});
