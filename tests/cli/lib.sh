# What every test of the command line begins with: a folder of its own, a clean environment, and
# words to say what is expected. POSIX sh; the program is $AGENTCTL.
#
#     . "${0%/*}/lib.sh"
#     run 0 create demo                 # agentctl create demo, must answer 0
#     err_has 'created agent demo'
#     json '$.version' 1 …
#
# After run: the files out and err hold what was said.

set -u
: "${AGENTCTL:?is the path of the agentctl to test}"
case $AGENTCTL in /*) ;; *) AGENTCTL=$PWD/$AGENTCTL ;; esac

here=$(cd "${0%/*}" && pwd)
dir=$(mktemp -d "${TMPDIR:-/tmp}/agentctl-test.XXXXXX") || exit 1
failed=0
what=

finish() {
    rc=$?
    cd / && rm -rf "$dir"
    [ "$rc" -ne 0 ] && [ "$rc" -ne 1 ] && [ "$rc" -ne 77 ] && exit "$rc"
    [ "$rc" -eq 77 ] && exit 77
    exit "$failed"
}
trap finish EXIT
trap 'failed=1; exit 1' INT TERM

mkdir "$dir/home" "$dir/work"
cd "$dir/work" || exit 1
unset OPENAI_API_KEY ANTHROPIC_API_KEY XDG_DATA_HOME XDG_CONFIG_HOME NO_COLOR SSL_CERT_FILE
export HOME="$dir/home" AGENTCTL_DB="$dir/agent.db"

note() { what="$*: "; }

bad() {
    failed=1
    printf 'FAILED: %s%s\n' "$what" "$*" >&2
    [ -s out ] && sed 's/^/    out: /' out | head -20 >&2
    [ -s err ] && sed 's/^/    err: /' err | head -20 >&2
}

# run CODE ARG...: stdin is empty
run() {
    expected=$1
    shift
    "$AGENTCTL" "$@" >out 2>err </dev/null
    code=$?
    [ "$code" = "$expected" ] || bad "agentctl $* answered $code, not $expected"
}

# run_in CODE INPUT ARG...: INPUT is stdin
run_in() {
    expected=$1
    printf '%s' "$2" >in
    shift 2
    "$AGENTCTL" "$@" >out 2>err <in
    code=$?
    [ "$code" = "$expected" ] || bad "agentctl $* answered $code, not $expected"
}

out_is() { [ "$(cat out)" = "$1" ] || bad "stdout is not '$1'"; }
out_has() { grep -qF -e "$1" out || bad "stdout has no '$1'"; }
out_lacks() { grep -qF -e "$1" out && bad "stdout has '$1'"; }
out_empty() { [ ! -s out ] || bad 'stdout is not empty'; }
out_lines() { [ "$(wc -l <out)" -eq "$1" ] || bad "stdout has $(wc -l <out) lines, not $1"; }
err_has() { grep -qF -e "$1" err || bad "stderr has no '$1'"; }
err_lacks() { grep -qF -e "$1" err && bad "stderr has '$1'"; }
err_empty() { [ ! -s err ] || bad 'stderr is not empty'; }

# An error and its remedy, each on its line.
says() {
    grep -q '^agentctl: error: ' err || bad 'stderr has no error line'
    err_has "$1"
    if [ $# -gt 1 ]; then
        grep -q '^hint: ' err || bad 'stderr has no hint'
        err_has "$2"
    fi
}

# SQL on a file of the test's own, so that JSON is read by a reader that is not the writer's.
scratch() {
    [ -f "$dir/scratch.db" ] || "$AGENTCTL" --db "$dir/scratch.db" create scratch 2>/dev/null
    "$AGENTCTL" --db "$dir/scratch.db" sql --table "$1" | tail -n 1 | sed 's/^ *//'
}

quoted() { sed "s/'/''/g" "$1"; }

# json_in FILE PATH VALUE: what stands there, as text; null is the word null
json_in() {
    value=$(scratch "select coalesce(json_extract('$(quoted "$1")', '$2'), 'null') as v")
    [ "$value" = "$3" ] || bad "$2 is '$value', not '$3'"
}
json() { json_in out "$1" "$2"; }
json_type() {
    value=$(scratch "select coalesce(json_type('$(quoted out)', '$1'), 'missing') as v")
    [ "$value" = "$2" ] || bad "$1 is of type '$value', not '$2'"
}
json_valid() { [ "$(scratch "select json_valid('$(quoted out)') as v")" = 1 ] || bad 'stdout is not one JSON value'; }
last_line() { tail -n 1 out >last; }

# wait_for SECONDS COMMAND...: until the command succeeds
wait_for() {
    left=$(($1 * 20))
    shift
    until "$@" >/dev/null 2>&1; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || return 1
        sleep 0.05
    done
}

# Starts the scripted server of the io tests with its arguments; sets $url. Skips without one.
serve() {
    [ -x "${SCRIPTED:-}" ] || { echo 'no scripted server' >&2; exit 77; }
    rm -f port
    "$SCRIPTED" --port-file port "$@" >server.log 2>&1 &
    server=$!
    wait_for 10 test -s port || { bad 'the scripted server did not start'; exit 1; }
    url=http://127.0.0.1:$(cat port)
}
unserve() {
    kill "$server" 2>/dev/null
    wait "$server" 2>/dev/null
    return 0
}
