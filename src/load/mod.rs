//! Results of load tools: what `ab`, `wrk`, `hey`, `oha` and `k6` print, read into one form.
