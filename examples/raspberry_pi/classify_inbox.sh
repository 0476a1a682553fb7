#!/bin/sh
# Classifies what lies in DIR/inbox, moves it to DIR/done and prints CSV, which belongs in DIR/results.csv.
# covidnet-lite-inbox.service runs it; by hand: classify_inbox.sh DIR COMMAND >>DIR/results.csv
# Cut off in the middle, the next run takes up what lies in DIR/working: a row may come twice, none is lost.
set -eu

dir=${1:-/srv/radiographs}
command=${2:-/opt/covidnet-lite/bin/covidnet-lite}
settled=${COVIDNET_LITE_SETTLED:-10 seconds} # a file unchanged for so long is taken to be whole
batch=16

case $command in
    /*) ;;
    */*) command=$PWD/$command ;; # below, it is started in another folder
esac
command -v "$command" >/dev/null || { echo "$command is missing: nothing was done" >&2 && exit 2; }

cd "$dir"
for folder in inbox working failed "done"; do
    [ -d $folder ] || { echo "$dir/$folder is missing: make it as docs/raspberry_pi.md says" >&2 && exit 1; }
done
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT

# --backup: a second x.png does not replace the first. Hidden files are those that rsync and the like still write.
take() {
    find inbox -mindepth 1 -maxdepth 1 ! -name '.*' ! -newerct "$settled ago" "$@"
}

put() { mv --backup=numbered -- "$1" "$2"; }

# Of files in working/. Where one kills the command (it asks for more memory than the service has), the others are
# answered without it, and it goes to failed/.
answer() {
    code=0
    (cd working && exec "$command" classify --format csv --quiet -- "$@") >"$rows" </dev/null || code=$?
    case $code in
        0 | 1 | 3) # every file has its row, be it that it could not be read
            if [ -s results.csv ]; then sed 1d "$rows"; else cat "$rows"; fi
            for file; do put "working/$file" done/; done
            ;;
        2 | 126 | 127) exit 2 ;; # nothing can be classified, or started; the files stay for the next run
        *)
            if [ $# -gt 1 ]; then
                for file; do answer "$file"; done
            else
                echo "$1: killed covidnet-lite (exit code $code), moved to failed/" >&2
                put "working/$1" failed/
            fi
            ;;
    esac
}

answer_all() {
    set --
    for path in working/*; do
        [ -f "$path" ] || continue
        set -- "$@" "${path#working/}"
        if [ $# -eq "$batch" ]; then
            answer "$@"
            set --
        fi
    done
    [ $# -eq 0 ] || answer "$@"
}

answer_all # what an earlier run left
while [ -n "$(ls inbox)" ]; do
    take ! -type f -printf '%f: no file, moved to failed/\n' -exec mv --backup=numbered -t failed -- {} + >&2
    take -type f -exec mv --backup=numbered -t working -- {} +
    answer_all
    [ -z "$(ls inbox)" ] || sleep 2 # something is still being written
done
