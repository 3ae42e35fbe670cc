#!/usr/bin/env bash
# Readers that stop pin no more than they would with plain TCP, and one message of the redirect limit; requests beside them are not slowed.
#
# Runs alone: it compares what whole namespaces hold, and how long requests take.
# The torture measures it, on a topology of its own, plain TCP and the mesh in one run. Streams alone: a pooled connection that has carried messages
# before lets its server hold more, as one of plain TCP would, but there each client has a new one (`make stall` shows both).
set -uo pipefail
here=$(cd "$(dirname "$0")" && pwd)
exec "$here/../torture/torture.sh" --prefix "${E2E_PREFIX:-e2e}-stall" --fast-path on --stall 2 -- --connections 100 --kinds length,endless,uploads
