-- wrk prints one line of JSON beside its own text: what tests and bench read.

-- wrk counts whole microseconds, which are 5 % of the fastest exchanges: the median is placed inside its microsecond, by how many of the
-- samples of that microsecond lie below it.
local function median(latency)
	local value = latency:percentile(50)
	local function edge(inside, outside)
		for _ = 1, 24 do
			local middle = (inside + outside) / 2
			if latency:percentile(middle) == value then inside = middle else outside = middle end
		end
		return inside
	end
	local first, last = edge(50, 0.0001), edge(50, 99.9999)
	if last <= first then return value end
	return value - 0.5 + (50 - first) / (last - first)
end

function done(summary, latency, requests)
	local e = summary.errors
	io.write(string.format(
		'JSON {"requests":%d,"duration_us":%d,"bytes":%d,"p50_us":%.2f,"p90_us":%d,"p99_us":%d,"max_us":%d,"mean_us":%.1f,' ..
		'"errors":{"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}}\n',
		summary.requests, summary.duration, summary.bytes, median(latency), latency:percentile(90), latency:percentile(99),
		latency.max, latency.mean, e.connect, e.read, e.write, e.status, e.timeout))
end
