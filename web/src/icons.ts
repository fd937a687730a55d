// The icons, drawn as strokes on a 24×24 grid.

const PATHS = {
  mic: "M12 3a3 3 0 0 0-3 3v6a3 3 0 0 0 6 0V6a3 3 0 0 0-3-3zM5.5 11.500a6.5 6.5 0 0 0 13 0M12 18v3",
  micOff: "M9 9v3a3 3 0 0 0 4.700 2.460M15 11.200V6a3 3 0 0 0-5.800-1.070M5.5 11.500A6.5 6.5 0 0 0 16 16.600M18.5 11.500c0 .9-.2 1.800-.5 2.500M12 18v3M4 3l16 18",
  camera: "M4.5 6.500h8A2.5 2.5 0 0 1 15 9v6a2.5 2.5 0 0 1-2.5 2.500h-8A2.5 2.5 0 0 1 2 15V9a2.5 2.5 0 0 1 2.5-2.500zM15 11l6-3.500v9L15 13",
  cameraOff: "M9 6.500h3.500A2.5 2.5 0 0 1 15 9v2l6-3.500v9l-3-1.700M14.5 16.500c-.5.6-1.200 1-2 1h-8A2.5 2.5 0 0 1 2 15V9c0-1.200.8-2.200 2-2.400M3 3l17 18",
  screen: "M4 4.500h16a1.5 1.5 0 0 1 1.5 1.500v9.500A1.5 1.5 0 0 1 20 17H4a1.5 1.5 0 0 1-1.5-1.500V6A1.5 1.5 0 0 1 4 4.500zM8.5 20.500h7M12 14V8M9.300 10.5 12 7.800l2.700 2.700",
  screenOff: "M4 4.500h16a1.5 1.5 0 0 1 1.5 1.500v9.500A1.5 1.5 0 0 1 20 17H4a1.5 1.5 0 0 1-1.5-1.500V6A1.5 1.5 0 0 1 4 4.500zM8.5 20.500h7M9.800 8.500l4.400 4.500M14.200 8.5 9.800 13",
  chat: "M5 4.500h14A1.5 1.5 0 0 1 20.5 6v9a1.5 1.5 0 0 1-1.5 1.500h-7.500L7 20.500v-4H5A1.5 1.5 0 0 1 3.5 15V6A1.5 1.5 0 0 1 5 4.500zM8 9h8M8 12.300h5",
  people: "M9 11.500a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7zM2.5 19.500a6.5 6.5 0 0 1 13 0M16 4.900a3.5 3.5 0 0 1 0 6.200M18 14a6.5 6.5 0 0 1 3.5 5.5",
  settings: "M4 7h9M17 7h3M15 9.200a2.200 2.200 0 1 0 0-4.400 2.200 2.200 0 0 0 0 4.400zM4 17h3M11 17h9M9 19.200a2.200 2.200 0 1 0 0-4.400 2.200 2.200 0 0 0 0 4.400z",
  link: "M10 14a4 4 0 0 0 5.700 0l3.100-3.100a4 4 0 0 0-5.700-5.700L11.800 6.500M14 10a4 4 0 0 0-5.700 0l-3.100 3.100a4 4 0 0 0 5.700 5.700l1.300-1.300",
  leave: "M3.5 14.800c-.9-3.200 3.700-6.300 8.5-6.300s9.400 3.100 8.5 6.300c-.2.800-.9 1.300-1.700 1.200l-2.600-.4c-.7-.1-1.200-.7-1.200-1.400v-1.600a12 12 0 0 0-6 0v1.600c0 .7-.5 1.300-1.200 1.400l-2.600.4c-.8.1-1.5-.4-1.700-1.200z",
  close: "M6 6l12 12M18 6 6 18",
  send: "M4 12h13M11.5 5.5 18 12l-6.5 6.5",
  pin: "M9 3.500h6l-.7 6 3.200 3.500h-11L9.700 9.500zM12 13v7.5",
  warning: "M12 4 2.5 20h19zM12 10v4.500M12 17.200v.3",
  check: "M4.5 12.5 10 18 19.5 7",
  info: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5.500M12 7.600v.3",
  speaker: "M4 9.500v5h3.500L12 18.500v-13L7.5 9.500zM15.5 9a4.200 4.200 0 0 1 0 6M18 6.500a7.800 7.800 0 0 1 0 11",
} as const;

export type IconName = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

/** A decorative icon: the control around it carries the name. */
export function icon(name: IconName): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  svg.append(path);
  return svg;
}

/** Three bars that show how good a connection is; styled by `data-quality` on the parent. */
export function bars(): SVGSVGElement {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("bars");
  for (const [index, height] of [5, 9, 13].entries()) {
    const bar = document.createElementNS(SVG, "rect");
    bar.setAttribute("x", String(2 + index * 4.5));
    bar.setAttribute("y", String(15 - height));
    bar.setAttribute("width", "3");
    bar.setAttribute("height", String(height));
    bar.setAttribute("rx", "1");
    svg.append(bar);
  }
  return svg;
}
