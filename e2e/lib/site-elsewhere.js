// The page server as a process of its own, for a browser on another host; its address is the line that it prints.

import { Site } from './site.js';

const site = await Site.start();
console.log(site.url);
