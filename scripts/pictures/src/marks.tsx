/** On a time series: annotations as dashed lines with a triangle at their foot, exemplars as diamonds, as Grafana draws them. */
import type { GrafanaTheme2 } from '@grafana/data';
import { type UPlotConfigBuilder, useTheme2 } from '@grafana/ui';
import { useLayoutEffect } from 'react';
import type { Exemplar, Mark } from './query';

export function Marks({ config, marks, exemplars }: { config: UPlotConfigBuilder; marks: Mark[]; exemplars: Exemplar[] }) {
  const theme: GrafanaTheme2 = useTheme2();
  useLayoutEffect(() => {
    config.addHook('draw', (u) => {
      const { ctx, bbox } = u;
      const size = 5 * devicePixelRatio;
      ctx.save();
      ctx.beginPath();
      ctx.rect(bbox.left - size, bbox.top, bbox.width + 2 * size, bbox.height + 2 * size);
      ctx.clip();
      for (const { time, color } of marks) {
        const x = Math.round(u.valToPos(time, 'x', true));
        const foot = bbox.top + bbox.height;
        ctx.strokeStyle = ctx.fillStyle = theme.visualization.getColorByName(color);
        ctx.lineWidth = devicePixelRatio;
        ctx.setLineDash([5 * devicePixelRatio, 5 * devicePixelRatio]);
        ctx.beginPath();
        ctx.moveTo(x, bbox.top);
        ctx.lineTo(x, foot);
        ctx.stroke();
        ctx.beginPath();
        ctx.moveTo(x - size, foot + size);
        ctx.lineTo(x + size, foot + size);
        ctx.lineTo(x, foot);
        ctx.fill();
      }
      ctx.fillStyle = theme.visualization.getColorByName('blue');
      const scale = u.series[1]?.scale ?? 'y';
      const half = 3.5 * devicePixelRatio;
      for (const { time, value } of exemplars) {
        const { min = value, max = value } = u.scales[scale];
        const x = u.valToPos(time, 'x', true);
        const y = u.valToPos(Math.min(Math.max(value, min!), max!), scale, true);
        ctx.beginPath();
        ctx.moveTo(x, y - half);
        ctx.lineTo(x + half, y);
        ctx.lineTo(x, y + half);
        ctx.lineTo(x - half, y);
        ctx.fill();
      }
      ctx.restore();
    });
  }, [config, marks, exemplars, theme]);
  return null;
}
