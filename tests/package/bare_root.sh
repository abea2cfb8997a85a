#!/usr/bin/env bash
# Sourced by scripts that test in a bare Debian: debootstrap's minbase variant and nothing else. Each distribution is built
# once and kept as a tarball in $GLOW_ROOTS (default: ~/.cache/glow/roots), so later roots take seconds.
# The environment names the programs where they are not installed: DEBOOTSTRAP and DEBOOTSTRAP_DIR, its own variable.

bare_root_debootstrap() {  # prints the program; fails where there is none
    local program
    for program in ${DEBOOTSTRAP:+"$DEBOOTSTRAP"} debootstrap /usr/sbin/debootstrap; do
        command -v "$program" && return
    done
    return 1
}

# bare_root_problem: prints why no root can be made here; nothing where one can.
bare_root_problem() {
    if [ "$(id -u)" != 0 ]; then
        echo "a bare root needs the rights of root"
    elif ! bare_root_debootstrap >/dev/null; then
        echo "debootstrap is not installed (apt-get install debootstrap, or set DEBOOTSTRAP)"
    elif ! unshare --mount --pid --fork true 2>/dev/null; then
        echo "this system allows no mount namespaces (a container without privileges?)"
    fi
}

# bare_root_tarball SUITE: prints the path of the tarball, made first if it is not there. The mirror is debootstrap's own, or
# $GLOW_MIRROR.
bare_root_tarball() {
    local suite=$1 folder=${GLOW_ROOTS:-$HOME/.cache/glow/roots} log
    local tarball=$folder/$suite.tar
    if [ ! -e "$tarball" ]; then
        mkdir -p "$folder"
        log=$folder/$suite.log
        if ! "$(bare_root_debootstrap)" --variant=minbase "$suite" "$folder/$suite.new" ${GLOW_MIRROR:+"$GLOW_MIRROR"} >"$log" 2>&1; then
            tail -n 5 "$log" >&2
            echo "debootstrap of $suite failed (log: $log)" >&2
            rm -rf "$folder/$suite.new"
            return 1
        fi
        rm -f "$folder/$suite.new"/var/cache/apt/archives/*.deb
        tar -C "$folder/$suite.new" --numeric-owner -cf "$tarball.new" .
        mv "$tarball.new" "$tarball"
        rm -rf "$folder/$suite.new" "$log"
    fi
    printf '%s\n' "$tarball"
}

# bare_root_make SUITE FOLDER: a new root in FOLDER with the host's name resolution and apt's settings for downloads (a proxy).
bare_root_make() {
    local suite=$1 root=$2 tarball
    tarball=$(bare_root_tarball "$suite") || return 1
    mkdir -p "$root"
    tar -C "$root" --numeric-owner -xf "$tarball"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/90fast"  # no fsync for each file of a root that is deleted
    grep -hs '^Acquire::' /etc/apt/apt.conf /etc/apt/apt.conf.d/* >"$root/etc/apt/apt.conf.d/90host" || true
}

# bare_root_mount FOLDER: what programs expect of a running system. In a mount namespace of its own (unshare --mount --pid
# --fork), so that nothing is left mounted afterwards.
bare_root_mount() {
    local root=$1 device
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/shm"
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
}
