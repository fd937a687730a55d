// Where the tiles go. Pure: sizes in, rectangles out.

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

const GAP = 10;
const WIDEST = 16 / 9;
const MIN_WIDTH = 150;

/** Equal tiles, as large as possible, rows centred. May be taller than the area: then it scrolls. */
export function grid(count: number, area: Rect): Rect[] {
  if (count === 0) return [];
  const tallest = area.width > area.height ? 4 / 3 : 4 / 5;
  const most = Math.max(1, Math.min(count, Math.floor((area.width + GAP) / (MIN_WIDTH + GAP))));
  let best = { columns: most, width: 0, height: 0 };
  for (let columns = 1; columns <= most; columns++) {
    const rows = Math.ceil(count / columns);
    const cellWidth = (area.width - GAP * (columns - 1)) / columns;
    const cellHeight = (area.height - GAP * (rows - 1)) / rows;
    const width = Math.min(cellWidth, cellHeight * WIDEST);
    const height = Math.min(cellHeight, width / tallest);
    if (width >= MIN_WIDTH && height > 0 && width * height > best.width * best.height) best = { columns, width, height };
  }
  if (best.width === 0) {
    best.width = (area.width - GAP * (most - 1)) / most;
    best.height = best.width / (4 / 3);
  }
  return place(count, best.columns, best.width, best.height, area);
}

function place(count: number, columns: number, width: number, height: number, area: Rect): Rect[] {
  const rows = Math.ceil(count / columns);
  const top = area.y + Math.max(0, (area.height - rows * height - (rows - 1) * GAP) / 2);
  return Array.from({ length: count }, (_, index) => {
    const row = Math.floor(index / columns);
    const inRow = Math.min(columns, count - row * columns);
    const left = area.x + (area.width - inRow * width - (inRow - 1) * GAP) / 2;
    return { x: left + (index % columns) * (width + GAP), y: top + row * (height + GAP), width, height };
  });
}

/** One large tile, the others in a strip beside it (wide) or below it (narrow). */
export function stage(others: number, area: Rect): { main: Rect; strip: Rect[] } {
  if (others === 0) return { main: area, strip: [] };
  const wide = area.width > area.height * 1.1;
  const along = wide ? area.height : area.width;
  const across = wide ? clamp(area.width * 0.2, 150, 260) : clamp(area.height * 0.18, 90, 130);
  const ideal = wide ? across / WIDEST : across * 0.88;
  const shown = Math.max(1, Math.min(others, Math.floor((along + GAP) / (ideal + GAP))));
  const start = Math.max(0, (along - shown * ideal - (shown - 1) * GAP) / 2);
  const strip = Array.from({ length: shown }, (_, index) => {
    const at = start + index * (ideal + GAP);
    return wide
      ? { x: area.x + area.width - across, y: area.y + at, width: across, height: ideal }
      : { x: area.x + at, y: area.y + area.height - across, width: ideal, height: across };
  });
  const main = wide
    ? { ...area, width: area.width - across - GAP }
    : { ...area, height: area.height - across - GAP };
  return { main, strip };
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}
