#!/usr/bin/env bash
# A new configuration takes effect as a whole, under load and without an error; a bad one is refused and the last good one keeps serving.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

stable_to() {
	edit_config "next(r for v in resource('RouteConfiguration', '80')['virtual_hosts'] for r in v['routes'] if r.get('name') == 'stable')['route']['cluster'] = 'outbound|80|$1|reviews.default.svc.cluster.local'"
}

answered_by() {
	[ "$(who http://reviews/stable/1)" = "$1" ]
}

# A change while wrk runs, so long that a lost or late request would show.
under_load() {
	local report generation version
	load 8 16 http://10.96.0.11/stable/100B >"$(weft_state)/load.json" &
	local wrk=$!
	sleep 1
	for version in v2 v3 v1 v2 v3 v1; do
		generation=$(status_of .generation)
		stable_to "$version"
		reload
		check "SIGHUP: /stable/ is $version from now on" wait_until 30 answered_by "$version"
		check "SIGHUP: the generation rises" generation_is_after "$generation"
		sleep 0.5
	done
	wait "$wrk"
	report=$(cat "$(weft_state)/load.json")
	equal "six reloads under load: no error in $(requests_of "$report") requests" 0 "$(errors_of "$report")"
	between 'and wrk was served all the time' 1000 100000000 "$(requests_of "$report")"
}

by_change() {
	stable_to v2
	check 'a file that is replaced is read by itself' wait_until 30 answered_by v2
	cp "$config" "$(weft_state)/before.yaml"
	stable_to v3
	cp "$config" "$(weft_state)/after.yaml"
	cp "$(weft_state)/before.yaml" "$config"
	check 'and when the old one is back' wait_until 30 answered_by v2
	cat "$(weft_state)/after.yaml" >"$config"
	check 'a file that is written in place likewise' wait_until 30 answered_by v3
}

# refused WHAT PATTERN: with a bad file in place nothing changes, and the log says what is wrong.
refused() {
	local generation=$1 what=$2 pattern=$3 lines
	lines=$(wc -l <"$(weft_state)/weft.log")
	reload
	check "$what: the log says so" wait_until 30 logged_since "$lines" "$pattern"
	equal "$what: the generation stays" "$generation" "$(status_of .generation)"
	equal "$what: the last good one keeps serving" v3 "$(who http://reviews/stable/1)"
}

logged_since() {
	tail -n +"$(($1 + 1))" "$(weft_state)/weft.log" | grep -Eq "$2"
}

begin
weft_start "$config" || exit 1
equal 'before' v1 "$(who http://reviews/stable/1)"
under_load
by_change

cp "$config" "$(weft_state)/good.yaml"
generation=$(status_of .generation)
bad=$(weft_state)/bad.yaml
load 4 4 http://10.96.0.11/stable/100B >"$(weft_state)/load.json" &
wrk=$!
{
	cat "$(weft_state)/good.yaml"
	echo '  - [unclosed'
} >"$bad"
mv "$bad" "$config"
refused "$generation" 'broken YAML' 'weft\.yaml:[0-9]+'
sed 's/^pods:/podz:/' "$(weft_state)/good.yaml" >"$bad"
mv "$bad" "$config"
refused "$generation" 'an unknown key of our own' 'podz'
: >"$bad"
mv "$bad" "$config"
refused "$generation" 'an empty file' 'weft\.yaml'
cp "$(weft_state)/good.yaml" "$config"
edit_config "resource('RouteConfiguration', '80')['virtual_hosts'][0]['routes'][0]['match'] = {'safe_regex': {'regex': '/a/(?:b|[c-a])'}}"
refused "$generation" 'a regular expression that RE2 refuses' 'invalid character class range: c-a, at byte 9 of /a/\(\?:b\|\[c-a\]\)'
cp "$(weft_state)/good.yaml" "$config"
edit_config "r = resource('RouteConfiguration', '80'); r.update(validate_clusters=True); r['virtual_hosts'][0]['routes'].insert(0, {'match': {'path': '/gone'}, 'route': {'cluster': 'gone'}})"
refused "$generation" 'a validated route to an unknown cluster' "weft\\.yaml:[0-9]+:[0-9]+: route configuration 80: virtual_hosts\\[0\\]\\.routes\\[0\\]\\.route\\.cluster: route: unknown cluster 'gone'"
rm "$config"
refused "$generation" 'no file' 'weft\.yaml'
mkdir "$config"
refused "$generation" 'a folder' 'weft\.yaml: Is a directory'
lines=$(wc -l <"$(weft_state)/weft.log")
for _ in 1 2 3 4 5 6 7 8; do
	touch "$config/a-file" "$(dirname "$config")/another"
	sleep 0.2
done
equal 'which is said once, however often something changes there' '' "$(tail -n +"$((lines + 1))" "$(weft_state)/weft.log")"
rm -r "$config" "$(dirname "$config")/another"
mkfifo "$config"
refused "$generation" 'a pipe to which nobody writes' 'weft\.yaml: it is a pipe or a device'
rm "$config"
wait "$wrk"
equal 'and under load nobody noticed' 0 "$(errors_of "$(cat "$(weft_state)/load.json")")"

cp "$(weft_state)/good.yaml" "$config"
stable_to v1
check 'a good file after bad ones is taken' wait_until 30 answered_by v1

# ids_of_pods: those that are served.
ids_of_pods() {
	status_of '[.pods[].id // empty] | sort | map(tostring) | join(" ")'
}

is_served_by_another() {
	local pid
	pid=$(status_of .worker.pid)
	[[ $pid =~ ^[0-9]+$ ]] && [ "$pid" != "$1" ] && [ "$(ids_of_pods)" = "$2" ]
}

# What the kernel and others still know of a pod that went is told by its id: the one with the highest one goes, the worker dies, and the pod comes again.
before=$(ids_of_pods)
last=${before##* }
edit_config "c['pods'].pop($(status_of ".pods | map(.id) | index($last)"))"
reload
without=${before% *}
check 'a pod leaves the configuration' wait_until 30 eval '[ "$(ids_of_pods)" = "$without" ]'
worker=$(status_of .worker.pid)
kill -KILL "$worker"
check 'the worker dies, and the next one serves the others by their ids' wait_until 30 is_served_by_another "$worker" "$without"
cp "$(weft_state)/good.yaml" "$config"
reload
check 'the pod that comes again has an id that none has had' wait_until 30 eval '[ "$(ids_of_pods)" = "$without $((last + 1))" ]'
