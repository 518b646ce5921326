# PID 1 of the private engine's namespaces (network, mounts, processes); started by start.py.
# When it ends, for whatever reason, the kernel ends everything inside: no part outlives another.
# Environment: ENGINE_RUN, ENGINE_ROOT, REGISTRY_CONFIG, and dockerd's own. Arguments: dockerd's.
set -u

# slirp4netns, which stays outside, ends when the last writer of this pipe is gone.
exec 3<>"$ENGINE_RUN/alive"

# Without this dockerd would take a system containerd for its own.
mkdir -p /run/containerd
mount -t tmpfs -o mode=0711 tmpfs /run/containerd || exit 1

# The host's resolver may listen on its loopback, which isn't ours; slirp4netns forwards.
if [ -e /etc/resolv.conf ]; then
    mount --bind "$ENGINE_RUN/resolv.conf" "$(readlink -f /etc/resolv.conf)" || exit 1
fi

# An `up` that was killed half way never says so: don't wait for ever (30 s).
tries=0
until [ -e "$ENGINE_RUN/network-ready" ]; do
    tries=$((tries + 1))
    [ "$tries" -gt 1500 ] && exit 1
    sleep 0.02
done

# Kernels differ in which of the two they have.
for tables in iptables-nft iptables-legacy; do
    if "$ENGINE_ROOT/$tables/iptables" -t nat -nL >/dev/null 2>&1; then
        PATH="$ENGINE_ROOT/$tables:$PATH"
        break
    fi
done
export PATH

sh "$ENGINE_RUN/link_local.sh" || exit 1

while :; do
    docker-registry serve "$REGISTRY_CONFIG"
    sleep 0.5
done 3>&- &

dockerd "$@" 3>&- &
daemon=$!
trap 'kill -TERM "$daemon"' TERM
wait "$daemon"
# A signal ends the first wait early; the second waits for the daemon itself.
wait "$daemon"
