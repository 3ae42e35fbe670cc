#!/usr/bin/env bash
# The ways to run weftd by itself: as it is installed, from any network namespace, and from the static_resources of an Envoy bootstrap, in JSON.
# shellcheck source=lib.sh
. "$(dirname "$0")/lib.sh"

served() {
	equal "$1: by path" 'v1 v3' "$(who http://reviews/stable/1) $(who http://reviews/canary/1)"
	equal "$1: by header" v2 "$(who -H 'end-user: jason' http://reviews/)"
	equal "$1: to a pod that is not enrolled" ratings "$(who http://ratings/)"
	equal "$1: without endpoints" 503 "$(status_code http://idle/)"
}

# The same mesh as a bootstrap says it: route configurations in their listeners, load assignments in their clusters.
to_bootstrap() {
	edit_config "
kind = lambda r: r['@type'].rsplit('.', 1)[1]
routes = {r['name']: r for r in c['resources'] if kind(r) == 'RouteConfiguration'}
loads = {r['cluster_name']: r for r in c['resources'] if kind(r) == 'ClusterLoadAssignment'}
listeners = [r for r in c['resources'] if kind(r) == 'Listener']
clusters = [r for r in c['resources'] if kind(r) == 'Cluster']
plain = lambda r: {k: v for k, v in r.items() if k != '@type'}
for l in listeners:
    for f in (f for chain in l['filter_chains'] for f in chain['filters'] if 'rds' in f['typed_config']):
        f['typed_config']['route_config'] = plain(routes[f['typed_config'].pop('rds')['route_config_name']])
for x in clusters:
    if x.get('type') == 'EDS':
        x['type'] = 'STATIC'
        x.pop('eds_cluster_config')
        x['load_assignment'] = plain(loads.get(x['name'], {'cluster_name': x['name']}))
c = {'pods': c['pods'], 'static_resources': {'listeners': [plain(l) for l in listeners], 'clusters': [plain(x) for x in clusters]}}"
	python3 -c 'import json, sys, yaml; c = yaml.safe_load(open(sys.argv[1])); json.dump(c, open(sys.argv[1], "w"), indent=1)' "$config"
}

begin
root=$(weft_state)/root
check 'make install' make -s --no-print-directory -C "$repository" BUILD="$build" DESTDIR="$root" PREFIX=/usr install
for file in sbin/weftd bin/weftctl share/doc/weft/README.md share/doc/weft/LICENSE share/doc/weft/LICENSE.GPL-2.0 share/doc/weft/docs/weftd.md; do
	check "installed: $file" [ -s "$root/usr/$file" ]
done
weftctl=$root/usr/bin/weftctl

# In a pod's own namespace, where none of the others is.
printf '#!/bin/sh\nexec nsenter --net=%q %q "$@"\n' "$(topology show netns v2)" "$root/usr/sbin/weftd" >"$(weft_state)/weftd"
chmod +x "$(weft_state)/weftd"
weftd=$(weft_state)/weftd
weft_start "$config" || exit 1
equal 'from another network namespace: all pods are served' serving "$(status_of '[.pods[].state] | unique | join(" ")')"
served 'from another network namespace'
check 'weftd ends cleanly' weft_stop
weftd=$root/usr/sbin/weftd

sed -n '/^```yaml$/,/^```$/{/^```/!p}' "$repository/README.md" >"$(weft_state)/readme.yaml"
check "README's configuration: --check" "$weftd" --check "$(weft_state)/readme.yaml"

to_bootstrap
check 'a bootstrap in JSON: --check' "$weftd" --check "$config"
weft_start "$config" || exit 1
served 'a bootstrap in JSON'
who 'http://reviews/stable/[1-20]' >/dev/null
between 'a bootstrap in JSON: the kernel carries' 1 1000 "$(path_count bypass)"
# What is written before the connection stands goes by TCP.
equal 'TCP fast open' 'v1 v1 v1' "$(who --tcp-fastopen 'http://reviews/stable/[1-3]' | xargs)"
check 'weftd ends cleanly' weft_stop
equal 'nothing is left' '' "$(weft_left)"
