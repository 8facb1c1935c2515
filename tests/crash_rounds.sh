#!/bin/sh
# kill -9 of `agentctl run` at random instants, in mid tool call and in mid stream, ROUNDS times.
#
# The server plays an OpenAI endpoint that answers 400 to a history in which a tool call has no
# result; the tool writes down the effect id of each time it acts. After each kill:
#   - the file is clean,
#   - the next turn on the session is answered,
#   - no effect id was acted on twice.
# Seeds are printed: SEED=n repeats a run of the script.
set -u
: "${AGENTCTL:?}" "${SCRIPTED:?}"
ROUNDS=${ROUNDS:-50}
SEED=${SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
dir=$(mktemp -d "${TMPDIR:-/tmp}/agent-crash.XXXXXX") || exit 1
trap 'kill $server 2>/dev/null; rm -rf "$dir"' EXIT
trap 'exit 1' INT TERM
export AGENTCTL_DB="$dir/agent.db" OPENAI_API_KEY=test TMPDIR="$dir"
echo "seed $SEED, $ROUNDS rounds"

fail() {
    echo "FAILED in round $round: $*" >&2
    for f in answer.out answer.err check.out; do [ -s "$dir/$f" ] && sed "s/^/    $f: /" "$dir/$f" >&2; done
    "$AGENTCTL" list runs -n 5 >&2
    exit 1
}

"$SCRIPTED" --chat --port-file "$dir/port" --delay 3 --piece-delay 1 --split 12 &
server=$!
round=0
for i in 1 2 3 4 5 6 7 8 9 10; do [ -s "$dir/port" ] && break; sleep 0.1; done
port=$(cat "$dir/port") || fail 'the server did not start'

# Acts (writes the id), then takes its time, so that a kill may come before, between and after.
cat >"$dir/act" <<'END'
#!/bin/sh
echo "$AGENT_EFFECT_ID" >>"$TMPDIR/acted"
sleep 0.05
echo done
END
chmod +x "$dir/act"
"$AGENTCTL" tool add act --effect effect --exec "$dir/act" 2>/dev/null || fail 'tool add'
"$AGENTCTL" create demo -m openai:scripted --base-url "http://127.0.0.1:$port/v1" -t act -t calc 2>/dev/null ||
    fail 'create'
: >"$dir/acted"

random=$SEED
next_ms() { # 0..179, the same for the same seed
    random=$(((random * 1103515245 + 12345) % 2147483648))
    ms=$((random / 65536 % 180))
}

while [ $round -lt "$ROUNDS" ]; do
    round=$((round + 1))
    next_ms
    prompt="/tool act {}
/tool calc {\"expression\": \"$round+1\"}"
    [ $((round % 3)) = 0 ] && prompt="tell me a story that is long enough to be cut, number $round"
    "$AGENTCTL" run demo "$prompt" -S crash >/dev/null 2>&1 &
    pid=$!
    sleep "$(printf '0.%03d' $ms)"
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
    "$AGENTCTL" db check >"$dir/check.out" 2>&1 || fail "db check after a kill at $ms ms"
    "$AGENTCTL" run demo "round $round" -c >"$dir/answer.out" 2>"$dir/answer.err" || fail "no answer after a kill at $ms ms"
    grep -q "round $round" "$dir/answer.out" || fail 'the answer is not to this turn'
    twice=$(sort "$dir/acted" | uniq -d)
    [ -z "$twice" ] || fail "an effect happened twice: $twice"
done
acted=$(sort -u "$dir/acted" | wc -l)
echo "$ROUNDS rounds, $acted effects, none twice"
[ "$acted" -gt 0 ] || fail 'the tool never acted: the test proves nothing'
