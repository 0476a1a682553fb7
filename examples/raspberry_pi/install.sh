#!/bin/sh
# Installs covidnet-lite in a virtual environment on a Raspberry Pi, or on any Debian. It looks at the board, says
# what it will do, asks, and changes nothing outside one folder. docs/raspberry_pi.md says the rest.
set -eu

usage() {
    cat <<'END'
usage: install.sh [--prefix DIR] [--wheelhouse DIR] [--python PYTHON] [--dicom] [--dry-run] [--yes]

  --prefix DIR      the virtual environment (default: /opt/covidnet-lite for root, else ~/covidnet-lite)
  --wheelhouse DIR  install from wheels in DIR, without a connection (make wheelhouse-arm64)
  --python PYTHON   the Python to use (default: python3)
  --dicom           read DICOM files too (on a 32-bit system: not those compressed, but for RLE)
  --dry-run         say what would be done, and stop
  --yes             do not ask

Exit codes: 0 done; 1 it cannot be installed here, or a step failed; 2 wrong usage.
END
}

refuse() {
    printf 'install.sh: %s\n' "$*" >&2
    exit 1
}

misused() {
    printf 'install.sh: %s; see install.sh --help\n' "$*" >&2
    exit 2
}

absolute() {
    case $1 in
        /*) printf '%s\n' "$1" ;;
        *) printf '%s/%s\n' "$PWD" "$1" ;;
    esac
}

root=${COVIDNET_LITE_ROOT:-} # a test lays out another board's /proc and /etc there
python=python3
prefix='' wheelhouse='' dicom='' dry='' yes=''
while [ $# -gt 0 ]; do
    case $1 in
        --prefix | --wheelhouse | --python)
            [ -n "${2:-}" ] || misused "$1 needs a value"
            case $1 in
                --prefix) prefix=$(absolute "$2") ;;
                --wheelhouse) wheelhouse=$(absolute "$2") ;;
                --python) python=$2 ;;
            esac
            shift
            ;;
        --dicom) dicom=yes ;;
        --dry-run) dry=yes ;;
        --yes) yes=yes ;;
        -h | --help)
            usage
            exit 0
            ;;
        *) misused "$1 is no option" ;;
    esac
    shift
done
if [ -z "$prefix" ]; then
    [ "$(id -u)" -eq 0 ] && prefix=/opt/covidnet-lite || prefix=$HOME/covidnet-lite
fi

# What is here.

board=$(tr -d '\0' 2>/dev/null <"$root/proc/device-tree/model") || board='no device tree, so no Raspberry Pi'
system=$(sed -n 's/^PRETTY_NAME="\{0,1\}\([^"]*\)"\{0,1\}$/\1/p' "$root/etc/os-release" 2>/dev/null) || system=unknown
memory=$(awk '/^MemTotal:/ {print int($2 / 1024)}' "$root/proc/meminfo" 2>/dev/null) || memory=0
machine=$(uname -m)

command -v "$python" >/dev/null || refuse "$python is not installed: sudo apt-get install python3 python3-venv"
found=$("$python" -c '
import importlib.util, struct, sys
have = lambda *names: "yes" if all(map(importlib.util.find_spec, names)) else "no"
print(*sys.version_info[:2], struct.calcsize("P") * 8, have("venv", "ensurepip"), have("numpy", "PIL"))
') || refuse "$python does not run, or is older than Python 3.10: install a newer Raspberry Pi OS"
read -r major minor bits venv pictures <<END
$found
END
version=$major.$minor

cat <<END
board    $board
system   ${system:-unknown}
kernel   $machine
Python   $version, $bits bits
memory   $memory MB

END

# Whether it can work. A 64-bit kernel may run a 32-bit system, so Python's own bits decide.

case $machine-$bits in
    x86_64-64 | aarch64-64) runtime=ai-edge-litert newest=14 ;;
    aarch64-32 | armv8l-32 | armv7l-32) runtime=tflite-runtime newest=11 ;;
    armv6l-*) refuse "no TFLite runtime has a wheel for ARMv6, the processor of the Raspberry Pi 1, Zero and Zero W:" \
        "use a Zero 2 W, 3, 4 or 5, or classify on another machine" ;;
    *) refuse "no TFLite runtime has a wheel for $machine with a $bits-bit Python: use 64-bit ARM or x86-64" ;;
esac
if [ "$major" -ne 3 ] || [ "$minor" -lt 10 ]; then
    refuse "Python $version is too old, 3.10 is the least: install Raspberry Pi OS 12 (bookworm) or newer," \
        "or name another with --python"
elif [ "$minor" -gt "$newest" ] && [ "$bits" = 32 ]; then
    refuse "Python $version is too new for a 32-bit system: the last runtime with a wheel for it, tflite-runtime 2.14," \
        "stops at Python 3.11. Install the 64-bit Raspberry Pi OS (a Raspberry Pi 3, 4, 5 or Zero 2 W runs it)," \
        "or the 32-bit Raspberry Pi OS 12 (bookworm)"
elif [ "$minor" -gt "$newest" ]; then
    refuse "Python $version is too new: LiteRT has wheels up to Python 3.$newest; name an older one with --python"
fi
[ "$venv" = yes ] || refuse "$python has no venv module: sudo apt-get install python3-venv"
if [ "$bits" = 32 ] && [ "$pictures" = no ]; then
    refuse "PyPI has no numpy and no Pillow for 32-bit ARM: sudo apt-get install python3-numpy python3-pil"
fi
if [ "$bits" = 32 ] && [ -n "$dicom" ]; then
    echo "warning: of compressed DICOM files only those in RLE can be read here: the decoders of JPEG," \
        "JPEG-LS and JPEG 2000 have no wheels for 32-bit ARM. Take a 64-bit system, or uncompress files first:" \
        "gdcmconv --raw IN OUT" >&2
fi
if [ "$memory" -lt 400 ]; then
    echo "warning: $memory MB of memory is little: a classification takes up to about 60 MB, the installation more;" \
        "without a desktop and with swap it may do" >&2
fi

# Where it comes from and where it goes.

if [ -n "$wheelhouse" ]; then
    tag=cp$major$minor
    case $bits-$machine in
        64-*) wanted="ai_edge_litert-*-$tag-*_$machine.whl" ;;
        *) wanted="tflite_runtime-*-$tag-*_armv7l.whl" ;;
    esac
    for name in 'covidnet_lite-*.whl' "$wanted"; do
        find "$wheelhouse" -maxdepth 1 -name "$name" 2>/dev/null | grep -q . ||
            refuse "$wheelhouse holds no $name: make it for this Python ($version) and this processor, then copy it whole"
    done
    if [ -f "$wheelhouse/SHA256SUMS" ]; then
        (cd "$wheelhouse" && sha256sum --check --quiet SHA256SUMS) || refuse "$wheelhouse was damaged: copy it again"
    fi
    what=covidnet-lite
else
    what=$(cd "$(dirname "$0")/../.." && pwd)
    [ -f "$what/setup.py" ] || refuse "there is no covidnet-lite around this script: name a --wheelhouse"
fi

fresh=yes
if [ -f "$prefix/pyvenv.cfg" ]; then
    fresh=
    made_for=$(sed -n 's/^version *= *\([0-9]*\.[0-9]*\).*/\1/p' "$prefix/pyvenv.cfg")
    [ "$made_for" = "$version" ] || refuse "$prefix was made for Python $made_for: remove it, then run this again"
elif [ -e "$prefix" ] && [ -n "$(ls -A "$prefix")" ]; then
    refuse "$prefix holds something else: choose another --prefix"
fi

# Said first with `steps echo`, then done with `steps run`: the same words.

steps() {
    how=$1
    if [ "$bits" = 32 ]; then
        "$how" "$python" -m venv --system-site-packages "$prefix" # numpy and Pillow are Debian's
        # Older than setup.py asks for, so pip must not look; what runs with them is told in docs/raspberry_pi.md.
        set -- --no-deps "$what" tflite-runtime==2.14.0 filelock ${dicom:+pydicom}
    else
        "$how" "$python" -m venv "$prefix"
        set -- "${what}[${dicom:+dicom,}watch]"
    fi
    [ -z "$wheelhouse" ] || set -- --no-index --find-links "$wheelhouse" --force-reinstall "$@"
    "$how" "$prefix/bin/python" -m pip install --disable-pip-version-check --quiet --upgrade "$@"
    "$how" "$prefix/bin/covidnet-lite" doctor
}

say() { printf '  %s\n' "$*"; }

run() { "$@"; }

echo "This installs covidnet-lite with $runtime, ${wheelhouse:+without a connection, }in $prefix alone, by"
echo
steps say
echo
echo "It classifies nothing. To be rid of it: rm -r $prefix"
[ -z "$dry" ] || exit 0
if [ -z "$yes" ]; then
    printf 'Go on? [y/N] '
    read -r answer || answer=
    case $answer in
        [yY] | [yY][eE][sS]) ;;
        *) refuse "stopped; nothing was changed" ;;
    esac
fi

failed() {
    [ -z "$fresh" ] || rm -rf "$prefix"
    refuse "this step failed${fresh:+; nothing is left of it}"
}

trap failed EXIT
trap 'exit 1' INT TERM
export TMPDIR="$prefix/tmp" # not /tmp, which may be memory
mkdir -p "$TMPDIR"
echo "installing; on a small board this takes minutes"
steps run >"$TMPDIR/report"
cat "$TMPDIR/report"
grep -q 'runs it' "$TMPDIR/report" # a runtime that cannot be loaded is told by the report only
rm -r "$TMPDIR"
trap - EXIT
printf '\ninstalled. Try: %s classify XRAY\nResearch use only; not a medical device.\n' "$prefix/bin/covidnet-lite"
