#!/bin/bash
# Copyright 2026 fedefm_ros contributors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# A model's way between two network namespaces with a slow line between them; needs root.
#
#   . .run/env.sh && sudo -E scripts/two_networks.sh [BYTES [CHUNK [MBIT [DELAY_MS LOSS_PERCENT]]]]
#
# Delay and loss need the kernel's netem (sch_netem); without them the line is only slow (tbf).
# Prints the seconds of the transfer and the bytes that went over the line.
set -eu
bytes=${1:-4000000} chunk=${2:-65536} mbit=${3:-10} delay=${4:-} loss=${5:-0}
one=fedefm_$$_a two=fedefm_$$_b
folder=$(mktemp -d)
sender=
finish() {
    exec 3>&- || true
    [ -z "$sender" ] || wait "$sender" || true
    ip netns del $one 2> /dev/null || true
    ip netns del $two 2> /dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
ip netns add $one
ip netns add $two
ip link add line_a netns $one type veth peer name line_b netns $two
ip -n $one addr add 10.77.0.1/24 dev line_a
ip -n $two addr add 10.77.0.2/24 dev line_b
for end in "$one line_a" "$two line_b"; do
    set -- $end
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up multicast on
    if [ -n "$delay" ]; then
        ip netns exec "$1" tc qdisc add dev "$2" root netem \
            delay "${delay}ms" loss "${loss}%" rate "${mbit}mbit" limit 1000
    else
        ip netns exec "$1" tc qdisc add dev "$2" root tbf \
            rate "${mbit}mbit" burst 64kb latency 400ms
    fi
done
mkfifo "$folder/until" "$folder/told"
ip netns exec $one python -m fedefm_ros.nodes.courier offer "$folder/outbox" "$bytes" "$chunk" \
    < "$folder/until" > "$folder/told" &
sender=$!
exec 3> "$folder/until"
read -r line < "$folder/told"
sha256=$(python -c 'import json, sys; print(json.loads(sys.argv[1])["sha256"])' "$line")
timeout 600 ip netns exec $two python -m fedefm_ros.nodes.courier fetch "$folder/inbox" \
    "$bytes" "$chunk" "$sha256"
echo "bytes over the line: $(ip netns exec $one cat /sys/class/net/line_a/statistics/tx_bytes)"
