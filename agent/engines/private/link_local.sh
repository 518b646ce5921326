# Shuts link-local addresses off from steps, and from what the daemon fetches for them: there a cloud
# tells its machines about themselves, keys among it. Run by holder.sh before dockerd, which keeps a
# DOCKER-USER that is there, and asks it first. Ends with 1 where they can't be shut off.
set -u

# $1: iptables or ip6tables; then what it is about.
refuse() {
    tables=$1
    shift
    "$tables" -A DOCKER-USER "$@" -j REJECT 2>/dev/null || "$tables" -A DOCKER-USER "$@" -j DROP
}

iptables -N DOCKER-USER || exit 1
iptables -A OUTPUT -j DOCKER-USER || exit 1
refuse iptables -d 169.254.0.0/16 || exit 1

# A kernel that has no IPv6, or was told to have none, needs no rule.
[ -e /proc/net/if_inet6 ] || exit 0

if ip6tables -N DOCKER-USER 2>/dev/null; then
    # dockerd may know nothing of IPv6, so that nothing but this asks the chain.
    for chain in INPUT FORWARD OUTPUT; do
        ip6tables -A "$chain" -j DOCKER-USER || exit 1
    done
    for closed in fe80::/10 fd00:ec2::254; do
        # All but ICMP, by which neighbours find each other.
        refuse ip6tables -d "$closed" ! -p ipv6-icmp || exit 1
    done
else
    # IPv6 without tables for it: then none in here, on what is there and on what comes.
    for interfaces in all default; do
        echo 1 >"/proc/sys/net/ipv6/conf/$interfaces/disable_ipv6" || exit 1
    done
fi
