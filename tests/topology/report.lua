-- wrk prints one line of JSON beside its own text: what tests and bench read.
function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'JSON {"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%d,"p90_us":%d,"p99_us":%d,"max_us":%d,"mean_us":%.1f,' ..
		'"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
		summary.requests, summary.duration, summary.bytes, latency:percentile(50), latency:percentile(90), latency:percentile(99),
		latency.max, latency.mean, e.connect, e.read, e.write, e.status, e.timeout))
end
