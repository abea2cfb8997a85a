#!/usr/bin/env bash
# Sourced by scripts that test in a bare Debian: debootstrap's minbase variant only. Each distribution is
# built once and stored as a tarball in $GLOW_ROOTS (default: ~/.cache/glow/roots), so that later roots take
# seconds. If debootstrap is not installed, set DEBOOTSTRAP and its own variable DEBOOTSTRAP_DIR.

bare_root_debootstrap() {  # prints the program; fails if there is none
    local program
    for program in ${DEBOOTSTRAP:+"$DEBOOTSTRAP"} debootstrap /usr/sbin/debootstrap; do
        command -v "$program" && return
    done
    return 1
}

# bare_root_problem: prints why a root cannot be made here; nothing if it can.
bare_root_problem() {
    if [ "$(id -u)" != 0 ]; then
        echo "a bare root requires root privileges"
    elif ! bare_root_debootstrap >/dev/null; then
        echo "debootstrap is not installed (apt-get install debootstrap, or set DEBOOTSTRAP)"
    elif ! unshare --mount --pid --fork true 2>/dev/null; then
        echo "this system allows no mount namespaces (a container without privileges?)"
    fi
}

# bare_root_tarball SUITE: prints the path of the tarball and creates it if needed, from debootstrap's mirror
# or $GLOW_MIRROR.
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

# bare_root_make SUITE FOLDER: a new root in FOLDER with the host's name resolution and apt download settings
# (proxy).
bare_root_make() {
    local suite=$1 root=$2 tarball
    tarball=$(bare_root_tarball "$suite") || return 1
    mkdir -p "$root"
    tar -C "$root" --numeric-owner -xf "$tarball"
    cp -L /etc/resolv.conf /etc/hosts "$root/etc/"
    echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/90fast"  # no fsync per file in a temporary root
    grep -hs '^Acquire::' /etc/apt/apt.conf /etc/apt/apt.conf.d/* >"$root/etc/apt/apt.conf.d/90host" || true
}

# bare_root_mount FOLDER: mounts what programs expect of a running system. Run in a separate mount namespace
# (unshare --mount --pid --fork), so that nothing stays mounted.
bare_root_mount() {
    local root=$1 device
    mount -t proc proc "$root/proc"
    mount -t tmpfs -o mode=755 tmpfs "$root/dev"
    for device in null zero full random urandom tty; do
        touch "$root/dev/$device"
        mount --bind "/dev/$device" "$root/dev/$device"
    done
    mkdir "$root/dev/shm" "$root/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620 devpts "$root/dev/pts"
    ln -s pts/ptmx "$root/dev/ptmx"
    mount --rbind /sys "$root/sys"  # MPI reads the processors' topology
    mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    ln -s /proc/self/fd "$root/dev/fd"
    ln -s fd/0 "$root/dev/stdin"
    ln -s fd/1 "$root/dev/stdout"
    ln -s fd/2 "$root/dev/stderr"
}
