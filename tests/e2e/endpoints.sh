# shellcheck shell=bash
# The cluster `pool`: who is behind it, and who answers. Sourced after lib.sh.

# endpoints POD...: the cluster `pool` has just these from now on
endpoints() {
	local addresses='' pod
	for pod in "$@"; do
		addresses+="'$(topology show ip "$pod")', "
	done
	edit_config "
assignment = resource('ClusterLoadAssignment', 'outbound|8000||pool.default.svc.cluster.local')
assignment['endpoints'] = [{'load_balancing_weight': 1, 'lb_endpoints': [
    {'endpoint': {'address': {'socket_address': {'address': a, 'port_value': 8080}}}, 'health_status': 'HEALTHY', 'load_balancing_weight': 1} for a in [$addresses]]}]"
}

answer_is() {
	[ "$(who 'http://pool:8000/[1-24]' | sort -u | xargs)" = "$1" ]
}
