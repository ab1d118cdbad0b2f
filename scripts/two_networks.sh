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
#   . .run/env.sh
#   sudo -E scripts/two_networks.sh [BYTES [CHUNK [MBIT [DELAY_MS [LOSS_PERCENT]]]]]
#
# The line is scripts/slow_line.py. On one that loses frames Fast DDS needs TCP:
# FASTDDS_DEFAULT_PROFILES_FILE=config/fastdds_large_data.xml. Prints the seconds of the transfer and
# the bytes that the sender put on the line.
set -eu
bytes=${1:-4000000} chunk=${2:-65536} mbit=${3:-10} delay=${4:-30} loss=${5:-1}
here=$(dirname -- "$(readlink -f -- "$0")")
one=fedefm_$$_a two=fedefm_$$_b
folder=$(mktemp -d)
sender= carrier=
finish() {
    exec 3>&- || true
    [ -z "$sender" ] || wait "$sender" || true
    [ -z "$carrier" ] || kill "$carrier" || true
    ip netns del $one 2> /dev/null || true
    ip netns del $two 2> /dev/null || true
    rm -rf "$folder"
}
trap finish EXIT
ip netns add $one
ip netns add $two
mkfifo "$folder/until" "$folder/told" "$folder/line"
python "$here/slow_line.py" line_$$a line_$$b --mbit "$mbit" --delay-ms "$delay" --loss "$loss" \
    > "$folder/line" &
carrier=$!
read -r _ < "$folder/line"
ip link set line_$$a netns $one
ip link set line_$$b netns $two
ip -n $one addr add 10.77.0.1/24 dev line_$$a
ip -n $two addr add 10.77.0.2/24 dev line_$$b
for end in "$one line_$$a" "$two line_$$b"; do
    set -- $end
    ip -n "$1" link set lo up
    ip -n "$1" link set "$2" up multicast on
    ip -n "$1" route add 224.0.0.0/4 dev "$2"
done
ip netns exec $one python -m fedefm_ros.nodes.courier offer "$folder/outbox" "$bytes" "$chunk" \
    < "$folder/until" > "$folder/told" &
sender=$!
exec 3> "$folder/until"
read -r line < "$folder/told"
sha256=$(python -c 'import json, sys; print(json.loads(sys.argv[1])["sha256"])' "$line")
timeout 600 ip netns exec $two python -m fedefm_ros.nodes.courier fetch "$folder/inbox" \
    "$bytes" "$chunk" "$sha256"
echo "bytes over the line: $(ip netns exec $one cat /sys/class/net/line_$$a/statistics/tx_bytes)"
