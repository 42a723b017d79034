#!/usr/bin/env bash
# Runs `make test` on Debian trixie's Python 3.13 with NumPy 2.4 or newer.
#
#     tools/trixie.sh [--share DIR]... [FOLDER]
#
# Builds a Debian root in FOLDER/root, clones into it what is committed here, and installs and tests
# the clone there. Needs root, debootstrap, git, 12 GB of disk, and on 2 cores most of an hour.
#
#     FOLDER         is kept, and a later run uses its packages again. It must be empty or from an
#                    earlier run. Without it, a temporary folder is made and removed at the end.
#     --share DIR    shows DIR in the root too, at the same path and read-only, because pip's
#                    settings may name it (find-links, an index that is a folder)
#
# The root uses the mirrors, proxies and certificates that apt and pip use here, and the PIP_*
# variables. On PyPI torch is a CUDA build, 5 GB with its libraries; to take a smaller one from a
# folder: PIP_FIND_LINKS=DIR tools/trixie.sh --share DIR
set -euo pipefail

PACKAGES="ca-certificates chromium g++ git make npm python3 python3-dev python3-venv"
INTO=/clone
# make installs the pinned NumPy, and does not install again what is newer.
TEST="set -eux; cd $INTO/minimistral"'
make .venv/.tests
.venv/bin/python -m pip install -e . "numpy>=2.4"
.venv/bin/python -c "import sys, numpy, torch; print(sys.version, numpy.__version__, torch.__version__)"
make test'

die() { echo "trixie.sh: $*" >&2; exit 2; }

# Mounts are made in a namespace that ends with the command, as do all processes that it started:
# nothing stays mounted, even if this script is killed.
apart() { # COMMAND...
  unshare --mount --pid --fork --kill-child --mount-proc "$@" &
  child=$!
  wait "$child" # at once interrupted by a signal, which a command in the foreground would delay
  child=''
}

in_root() { # COMMANDS
  apart "$BASH" "$0" --in-root "$root" "$1" "${shared[@]}"
}

if [ "${1-}" = --in-root ]; then # ROOT COMMANDS DIR...: called by in_root alone
  root=$2 commands=$3
  mount -t proc proc "$root/proc"
  mount -t sysfs -o ro sysfs "$root/sys"
  mount -t devpts -o mode=620,gid=5,ptmxmode=666 devpts "$root/dev/pts"
  mkdir -p "$root/dev/shm"
  mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
  for folder in "${@:4}"; do
    mkdir -p "$root$folder"
    mount --bind -o ro "$folder" "$root$folder"
  done
  settings=()
  for name in $(compgen -e | grep -iE '^(PIP_|NPM_CONFIG_)|_PROXY$|_CA_(BUNDLE|CERTS)$|^SSL_CERT_'); do
    settings+=("$name=${!name}")
    if [ -f "${!name}" ]; then install -D -m 644 "${!name}" "$root${!name}"; fi
  done
  exec chroot "$root" /usr/bin/env -i HOME=/root LANG=C.UTF-8 TERM="${TERM-dumb}" \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    DEBIAN_FRONTEND=noninteractive "${settings[@]}" bash -c "$commands"
fi

folder='' temporary='' child='' shared=()
while [ $# -gt 0 ]; do
  case $1 in
    --share) [ -d "${2-}" ] || die "--share needs a folder"; shared+=("$(realpath "$2")"); shift ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0"; exit ;;
    -*) die "there is no option $1; see --help" ;;
    *) [ -z "$folder" ] || die "two folders, $folder and $1"; folder=$1 ;;
  esac
  shift
done
[ "$(id -u)" -eq 0 ] || die "must run as root, which alone may mount and chroot"
for tool in debootstrap git unshare; do
  command -v "$tool" >/dev/null || die "found no $tool; on Debian: apt-get install $tool"
done
clone_of=$(cd "$(dirname "$0")/.." && pwd)

mounts() { awk -v below="$folder/" 'index($2, below) == 1 { print $2 }' /proc/self/mounts; }

remove() { # PATH: never through a mount
  [ -z "$(mounts)" ] || die "$1 is not removed, because these are mounted: $(mounts)"
  rm -rf --one-file-system "$1"
}

finish() {
  trap - EXIT
  if [ -n "$child" ]; then
    kill -KILL "$child" 2>/dev/null || true
    sleep 1 # its processes end
  fi
  if [ -n "$temporary" ]; then remove "$folder"; fi
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

if [ -z "$folder" ]; then
  folder=$(mktemp -d --tmpdir trixie.XXXXXX)
  temporary=yes
else
  mkdir -p "$folder"
  folder=$(realpath "$folder")
  [ -z "$(ls -A "$folder")" ] || [ -e "$folder/made-by-trixie.sh" ] ||
    die "$folder is neither empty nor from an earlier run"
  [ -z "$(mounts)" ] || die "something is mounted in $folder: $(mounts)"
fi
case $folder in *[[:space:]]*) die "the path must be without spaces: $folder" ;; esac
touch "$folder/made-by-trixie.sh"
root=$folder/root

if [ ! -e "$folder/bootstrapped" ]; then
  remove "$root"
  mirror=$(apt-get indextargets --format '$(LABEL) $(REPO_URI)' 2>/dev/null |
    awk '$1 == "Debian" { print $2; exit }') || true
  apart debootstrap --variant=minbase trixie "$root" ${mirror:+"$mirror"}
  apt-config dump Acquire 2>/dev/null | grep -E '^Acquire::(https?|Check|Retries)' \
    >"$root/etc/apt/apt.conf.d/99-as-outside" || true
  printf '#!/bin/sh\nexit 101\n' | install -m 755 /dev/stdin "$root/usr/sbin/policy-rc.d" # no services
  touch "$folder/bootstrapped"
fi
in_root "apt-get update && apt-get install --yes --no-install-recommends $PACKAGES"

for file in /etc/resolv.conf /etc/hosts /etc/ssl/certs/ca-certificates.crt /etc/pip.conf; do
  if [ -f "$file" ]; then install -D -m 644 "$file" "$root$file"; fi
done
for settings in /etc/xdg/pip "$HOME/.config/pip" "$HOME/.pip"; do
  to=$root${settings/#$HOME//root}
  rm -rf "$to"
  if [ -d "$settings" ]; then mkdir -p "$to" && cp -r "$settings/." "$to"; fi
done

remove "$root$INTO"
git -c safe.directory='*' clone --quiet --no-hardlinks "$clone_of" "$root$INTO/minimistral"
in_root "$TEST"
