import { defineConfig } from 'vite';

export default defineConfig({
  // Icons are fetched by name at run time; they stand in @grafana/ui, and drive.js serves them from there.
  publicDir: false,
  build: { chunkSizeWarningLimit: 1e6, reportCompressedSize: false, sourcemap: false, minify: false },
});
