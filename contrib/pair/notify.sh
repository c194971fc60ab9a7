#!/bin/sh
# keepalived calls this when the node's role changes: notify.sh master|backup
#
# The gateway itself runs on both nodes all the time; only the connection table has to be told.
set -eu
conntrackd="conntrackd -C ${CONNTRACKD_CONF:-/etc/conntrackd/conntrackd.conf}"

case $1 in
master)
    $conntrackd -c  # commit what the other node told us; nothing where it is in the kernel already
    $conntrackd -f  # forget the caches: from now on we are the one who tells
    $conntrackd -R  # read our own kernel's table again
    $conntrackd -B  # send all of it to the other node, which may be new
    ;;
backup)
    $conntrackd -t  # shorten what is left of our own flows: they run elsewhere now
    $conntrackd -n  # ask the master for its table
    ;;
*)
    echo "usage: notify.sh master|backup" >&2
    exit 2
    ;;
esac
