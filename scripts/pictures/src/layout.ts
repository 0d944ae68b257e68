/** Grafana's grid: 24 columns, rows of 30 px, 8 px between them; panels move up into what is free above them. */
import type { Panel } from './dashboard';

const COLUMNS = 24;
const ROW = 30;
const GAP = 8;

export interface Placed {
  panel: Panel;
  left: number;
  top: number;
  width: number;
  height: number;
}

export function layout(panels: Panel[], width: number): { placed: Placed[]; height: number } {
  const column = (width - GAP * (COLUMNS - 1)) / COLUMNS;
  const free = Array<number>(COLUMNS).fill(0);
  let bottom = 0;
  const placed = [...panels]
    .sort((a, b) => a.gridPos.y - b.gridPos.y || a.gridPos.x - b.gridPos.x)
    .map((panel) => {
      const { x, w } = panel.gridPos;
      const h = panel.type === 'row' ? 1 : panel.gridPos.h;
      const y = Math.max(...free.slice(x, x + w));
      free.fill(y + h, x, x + w);
      bottom = Math.max(bottom, y + h);
      return { panel, left: x * (column + GAP), top: y * (ROW + GAP), width: w * column + (w - 1) * GAP, height: h * ROW + (h - 1) * GAP };
    });
  return { placed, height: bottom * (ROW + GAP) };
}
